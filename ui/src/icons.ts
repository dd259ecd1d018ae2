/**
 * The icons, in the colours of JupyterLab's theme.
 */

import { LabIcon } from '@jupyterlab/ui-components';

import archived from '../style/icons/archived.svg';
import history from '../style/icons/history.svg';
import pin from '../style/icons/pin.svg';
import publish from '../style/icons/publish.svg';
import trouble from '../style/icons/trouble.svg';
import waiting from '../style/icons/waiting.svg';

export const archivedIcon = new LabIcon({ name: 'bookstore:archived', svgstr: archived });
export const historyIcon = new LabIcon({ name: 'bookstore:history', svgstr: history });
export const pinIcon = new LabIcon({ name: 'bookstore:pin', svgstr: pin });
export const publishIcon = new LabIcon({ name: 'bookstore:publish', svgstr: publish });
export const troubleIcon = new LabIcon({ name: 'bookstore:trouble', svgstr: trouble });
export const waitingIcon = new LabIcon({ name: 'bookstore:waiting', svgstr: waiting });
