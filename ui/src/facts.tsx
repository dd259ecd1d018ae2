/**
 * Names and values, one under the other.
 */

import * as React from 'react';

/** The facts that have a value. */
export function Facts({ facts }: { facts: [name: string, value: string][] }): React.ReactElement {
  return (
    <dl>
      {facts
        .filter(([, value]) => value !== '')
        .map(([name, value]) => (
          <React.Fragment key={name}>
            <dt>{name}</dt>
            <dd title={value}>{value}</dd>
          </React.Fragment>
        ))}
    </dl>
  );
}
