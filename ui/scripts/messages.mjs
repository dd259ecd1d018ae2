// Gathers what the interface says, for translators, and makes of their work what JupyterLab reads.
//
//   node scripts/messages.mjs                 writes the catalogs anew from the sources
//   node scripts/messages.mjs --check         tells whether they are up to date; changes nothing
//   node scripts/messages.mjs --add fr_FR     adds a language
//
// bookstore/locale/jupyterlab_bookstore.pot                      every message, in English
// bookstore/locale/<language>/LC_MESSAGES/jupyterlab_bookstore.po    the translation, to be edited
// bookstore/locale/<language>/LC_MESSAGES/jupyterlab_bookstore.json  the same for JupyterLab, not to be edited
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

const UI = join(dirname(fileURLToPath(import.meta.url)), '..');
const LOCALE = join(UI, '..', 'bookstore', 'locale');
const DOMAIN = 'jupyterlab_bookstore';
const { version: VERSION } = JSON.parse(readFileSync(join(UI, 'package.json'), 'utf8'));

/** The methods of a translation bundle, and what their first arguments are. */
const METHODS = new Map([
  ['__', ['id']],
  ['gettext', ['id']],
  ['_n', ['id', 'plural']],
  ['ngettext', ['id', 'plural']],
  ['_p', ['context', 'id']],
  ['pgettext', ['context', 'id']],
  ['_np', ['context', 'id', 'plural']],
  ['npgettext', ['context', 'id', 'plural']]
]);

/** What JupyterLab translates of the description of settings, and in which context. */
const SCHEMA = [
  [/^\/(title|description)$/, 'schema'],
  [/^(\/definitions\/.*)?\/properties\/.*\/(title|description)$/, 'settings'],
  [/^\/jupyter\.lab\.setting-icon-label$/, 'settings'],
  [/^\/jupyter\.lab\.menus\/.*\/label$/, 'menu'],
  [/^\/jupyter\.lab\.toolbars\/.*\/label$/, 'toolbar']
];

/** Between context and message, in JupyterLab's files. */
const SEPARATOR = '\u0004';

/** Plural forms of languages as gettext writes them; where a language is not here, those of its translators are kept. */
const PLURALS = new Map([
  [/^(fr|pt_BR)/, 'nplurals=2; plural=(n > 1);'],
  [/^(ja|ko|th|vi|zh)/, 'nplurals=1; plural=0;'],
  [
    /^(be|ru|uk)/,
    'nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);'
  ],
  [/^pl/, 'nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);'],
  [/^(cs|sk)/, 'nplurals=3; plural=(n==1) ? 0 : (n>=2 && n<=4) ? 1 : 2;'],
  [/./, 'nplurals=2; plural=(n != 1);']
]);

const keyOf = ({ context, id }) => (context === '' ? id : `${context}${SEPARATOR}${id}`);

/** All messages of the interface, each once, with the files that it is in. */
function messages() {
  const found = new Map();
  const add = (message, file) => {
    const key = keyOf(message);
    const known = found.get(key) ?? { context: '', plural: '', ...message, files: new Set() };
    if (message.plural && known.plural && message.plural !== known.plural) {
      throw new Error(`${file}: “${message.id}” has another plural in ${[...known.files]}`);
    }
    known.plural ||= message.plural ?? '';
    known.files.add(file);
    found.set(key, known);
  };
  const sources = readdirSync(join(UI, 'src'))
    .filter(name => /\.tsx?$/.test(name) && !/\.(spec|d)\.tsx?$/.test(name))
    .sort();
  for (const name of sources) {
    fromSource(join(UI, 'src', name), message => add(message, `ui/src/${name}`));
  }
  for (const name of readdirSync(join(UI, 'schema')).sort()) {
    const schema = JSON.parse(readFileSync(join(UI, 'schema', name), 'utf8'));
    const domain = schema['jupyter.lab.internationalization']?.domain;
    if (domain !== DOMAIN) {
      throw new Error(
        `ui/schema/${name}: its messages are looked up in ${domain}, not in ${DOMAIN}`
      );
    }
    fromSchema(schema, '', message => add(message, `ui/schema/${name}`));
  }
  return [...found.values()];
}

function fromSource(path, add) {
  const kind = path.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS;
  const source = ts.createSourceFile(
    path,
    readFileSync(path, 'utf8'),
    ts.ScriptTarget.Latest,
    true,
    kind
  );
  const visit = node => {
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const parts = METHODS.get(node.expression.name.text);
      if (parts !== undefined) {
        add(Object.fromEntries(parts.map((part, place) => [part, textOf(node, place, source)])));
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
}

function textOf(call, place, source) {
  const text = literal(call.arguments[place]);
  if (!text) {
    const { line } = source.getLineAndCharacterOfPosition(call.getStart());
    const where = `${relative(UI, source.fileName)}:${line + 1}`;
    throw new Error(
      `${where}: what is translated has to be a text that stands there: ${call.getText()}`
    );
  }
  return text;
}

function literal(node) {
  if (node === undefined) {
    return undefined;
  }
  if (ts.isStringLiteralLike(node)) {
    return node.text;
  }
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    const [left, right] = [literal(node.left), literal(node.right)];
    return left === undefined || right === undefined ? undefined : left + right;
  }
  return undefined;
}

function fromSchema(value, path, add) {
  if (typeof value === 'string') {
    const rule = SCHEMA.find(([pattern]) => pattern.test(path));
    if (rule !== undefined && value !== '') {
      add({ context: rule[1], id: value });
    }
  } else if (Array.isArray(value)) {
    value.forEach((item, place) => fromSchema(item, `${path}[${place}]`, add));
  } else if (typeof value === 'object' && value !== null) {
    Object.entries(value).forEach(([name, item]) => fromSchema(item, `${path}/${name}`, add));
  }
}

/** A file in gettext's format. */
function written(header, entries) {
  const blocks = [block({ context: '', id: '', plural: '', files: [] }, [header])];
  for (const entry of entries) {
    blocks.push(block(entry, entry.texts ?? (entry.plural === '' ? [''] : ['', ''])));
  }
  return `${blocks.join('\n')}`;
}

function block({ comments = [], context, id, plural, files }, texts) {
  const lines = [...comments, ...[...files].map(file => `#: ${file}`)];
  if (context !== '') {
    lines.push(`msgctxt ${quoted(context)}`);
  }
  lines.push(`msgid ${quoted(id)}`);
  if (plural === '') {
    lines.push(`msgstr ${quoted(texts[0])}`);
  } else {
    lines.push(`msgid_plural ${quoted(plural)}`);
    texts.forEach((text, place) => lines.push(`msgstr[${place}] ${quoted(text)}`));
  }
  return `${lines.join('\n')}\n`;
}

/** One line; a text of several lines as gettext breaks it. */
function quoted(text) {
  const lines = text.split(/(?<=\n)/);
  return lines.length > 1 || text.endsWith('\n')
    ? ['""', ...lines.map(line => JSON.stringify(line))].join('\n')
    : JSON.stringify(text);
}

/** What a file in gettext's format holds: its header, and its texts by message. */
function read(path) {
  const entries = new Map();
  let entry = null;
  let field = '';
  const finish = () => {
    if (entry !== null && entry.id !== null) {
      entries.set(keyOf(entry), entry);
    }
    entry = null;
  };
  for (const [place, line] of readFileSync(path, 'utf8').split('\n').entries()) {
    const match = /^(msgctxt|msgid_plural|msgid|msgstr(?:\[(\d+)\])?)\s+(".*")\s*$/.exec(line);
    if (line.trim() === '') {
      finish();
    } else if (line.startsWith('#~')) {
      continue;
    } else if (line.startsWith('#')) {
      entry ??= { context: '', id: null, plural: '', texts: [], comments: [] };
      if (!line.startsWith('#:')) {
        entry.comments.push(line);
      }
    } else if (match !== null) {
      entry ??= { context: '', id: null, plural: '', texts: [], comments: [] };
      field = match[1].startsWith('msgstr') ? Number(match[2] ?? 0) : match[1];
      put(entry, field, JSON.parse(match[3]));
    } else if (line.startsWith('"') && entry !== null) {
      put(entry, field, JSON.parse(line));
    } else {
      throw new Error(`${path}:${place + 1}: not understood: ${line}`);
    }
  }
  finish();
  const header = entries.get('')?.texts[0] ?? '';
  entries.delete('');
  return { header, entries };
}

function put(entry, field, text) {
  if (typeof field === 'number') {
    entry.texts[field] = (entry.texts[field] ?? '') + text;
  } else {
    const name = { msgctxt: 'context', msgid: 'id', msgid_plural: 'plural' }[field];
    entry[name] = (entry[name] ?? '') + text;
  }
}

function headerOf(language) {
  return [
    'Project-Id-Version: bookstore\n',
    ...(language === '' ? [] : [`Language: ${language}\n`]),
    'MIME-Version: 1.0\n',
    'Content-Type: text/plain; charset=UTF-8\n',
    'Content-Transfer-Encoding: 8bit\n',
    ...(language === '' ? [] : [`Plural-Forms: ${pluralsOf(language)}\n`])
  ].join('');
}

function pluralsOf(language) {
  return [...PLURALS].find(([pattern]) => pattern.test(language))[1];
}

/** The translation in the order of the catalog; what is not said any more is left out. */
function merged(all, language, { header, entries }) {
  const forms = Number(/nplurals=(\d+)/.exec(header)?.[1] ?? 2);
  return all.map(message => {
    const known = entries.get(keyOf(message));
    const isUsable = known !== undefined && known.plural === message.plural;
    const empty = Array.from({ length: message.plural === '' ? 1 : forms }, () => '');
    return {
      ...message,
      comments: isUsable ? known.comments : [],
      texts: empty.map((_, place) => (isUsable ? (known.texts[place] ?? '') : ''))
    };
  });
}

/** The translation as JupyterLab reads it; messages without one, or with a doubtful one, stay English. */
function compiled(language, header, entries) {
  const done = entries.filter(
    ({ comments, texts }) =>
      texts.every(text => text !== '') && !comments.some(comment => /^#,.*\bfuzzy\b/.test(comment))
  );
  const plurals = /^Plural-Forms: (.*)$/m.exec(header)?.[1] ?? pluralsOf(language);
  const told = {
    domain: DOMAIN,
    version: VERSION,
    language: language.replace('_', '-'),
    pluralForms: plurals,
    plural_forms: plurals
  };
  return `${JSON.stringify(
    { '': told, ...Object.fromEntries(done.map(entry => [keyOf(entry), entry.texts])) },
    undefined,
    2
  )}\n`;
}

/** All files that there are to be, with their content. */
function* files(added) {
  const all = messages();
  yield [join(LOCALE, `${DOMAIN}.pot`), written(headerOf(''), all)];
  const languages = new Set([...languagesThereAre(), ...added]);
  for (const language of [...languages].sort()) {
    const folder = join(LOCALE, language, 'LC_MESSAGES');
    const path = join(folder, `${DOMAIN}.po`);
    const translation = existsSync(path)
      ? read(path)
      : { header: headerOf(language), entries: new Map() };
    const entries = merged(all, language, translation);
    yield [path, written(translation.header, entries)];
    yield [join(folder, `${DOMAIN}.json`), compiled(language, translation.header, entries)];
  }
}

function languagesThereAre() {
  return existsSync(LOCALE)
    ? readdirSync(LOCALE, { withFileTypes: true })
        .filter(item => item.isDirectory())
        .map(item => basename(item.name))
    : [];
}

function main(words) {
  const isCheck = words[0] === '--check';
  const added = words[0] === '--add' ? words.slice(1) : [];
  if (
    (words.length > 0 && !isCheck && words[0] !== '--add') ||
    added.some(name => !/^[a-z]{2,3}(_[A-Z]{2})?$/.test(name))
  ) {
    console.error(
      'usage: messages.mjs [--check | --add LANGUAGE…], a language being de_DE, for instance'
    );
    return 2;
  }
  let stale = 0;
  for (const [path, text] of files(added)) {
    if (existsSync(path) && readFileSync(path, 'utf8') === text) {
      continue;
    }
    stale += 1;
    const name = relative(join(UI, '..'), path);
    console.log(
      isCheck ? `${name} is out of date: run “npm run messages” in ui/.` : `${name} is written.`
    );
    if (!isCheck) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
  }
  return isCheck && stale > 0 ? 1 : 0;
}

process.exitCode = main(process.argv.slice(2));
