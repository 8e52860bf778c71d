// Elements from data. Every text goes in as a text node: nothing that a model, a datanet or a peer says becomes markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'share') element.style.setProperty('--share', value);
    else if (value === true) element.setAttribute(name, '');
    else element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Fills again what is shown, without taking the focus from a control in it or a selection from the reader. */
export function refresh(element, ...children) {
  const selection = getSelection();
  if (!selection.isCollapsed && element.contains(selection.anchorNode)) return;
  const controls = () => [...element.querySelectorAll('a, button, input, summary')];
  const held = controls().indexOf(document.activeElement);
  fill(element, ...children);
  if (held >= 0) controls()[held]?.focus({ preventScroll: true });
}

export const short = (id) => (id && id.length > 18 ? `${id.slice(0, 8)}…${id.slice(-6)}` : id ?? '–');
/** A row an answer is owed to: by the name its datanet gives it, else by its place there. */
export function rowName(source) {
  const place = /#(\d+)$/.exec(source.row)?.[1];
  const name = source.row_id && source.row_id.length <= 40 ? source.row_id : place ? `Row ${count(Number(place))}` : short(source.row);
  return h('strong', { title: source.row_id ?? source.row }, name);
}
const reasons = {
  duplicate: 'says what an earlier row says', echo: 'says in other words what a paid row says', threshold: 'the answer owes it too little',
  rank: 'others stand out more', rounding: 'less than a millionth', unweighed: 'the evidence was not weighed',
};

/** Why a row that stood in the prompt is paid nothing; null where it is paid. */
export const unpaid = (source) => (source.reason ? reasons[source.reason] ?? source.reason : null);

export const idText = (id) => h('code', { title: id, class: 'id' }, short(id));
const grouped = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
export const count = (n) => (typeof n === 'number' ? grouped(String(n)) : '–');
export const countOf = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const percent = (ppm) => `${(ppm / 10000).toFixed(ppm % 10000 === 0 ? 0 : 2)}%`;
export const sentence = (text) => (text?.startsWith('/') ? text : `${(text ?? '').charAt(0).toUpperCase()}${(text ?? '').slice(1)}`);
export const pill = (text, kind = '') => h('span', { class: `pill ${kind}` }, text);
export const fault = (error) => h('div', { class: 'fault', role: 'alert' }, error.message ?? String(error));
export const empty = (title, text, ...more) => h('div', { class: 'empty' }, h('strong', {}, title), text, more);

/** An amount of OPEN, cut after so many decimals; an ellipsis says so. */
export function open(text, decimals = 9) {
  if (typeof text !== 'string') return '–';
  const [whole, part = ''] = text.split('.');
  const shown = part.length > decimals ? `${part.slice(0, decimals)}…` : part;
  return shown ? `${grouped(whole)}.${shown}` : grouped(whole);
}
export const amount = (text) => h('span', { class: 'number', title: `${text} OPEN` }, `${open(text)} OPEN`);

export function bytes(n) {
  if (typeof n !== 'number') return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let power = 0;
  let value = n;
  while (value >= 1000 && power < units.length - 1) { value /= 1000; power += 1; }
  return `${value.toFixed(value < 10 && power > 0 ? 1 : 0)} ${units[power]}`;
}

export function duration(seconds) {
  if (typeof seconds !== 'number') return '–';
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function time(ms) {
  if (typeof ms !== 'number') return '–';
  const date = new Date(ms);
  const pad = (n) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return h('time', { datetime: date.toISOString(), class: 'number' }, `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}`);
}

export function facts(...pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

/** columns: [heading, row => content, class]. On a phone each row becomes a block. */
export function table(caption, columns, rows) {
  return h('table', { class: 'stack', 'aria-label': caption },
    h('thead', {}, h('tr', {}, columns.map(([title, , kind]) => h('th', { scope: 'col', class: kind }, title)))),
    h('tbody', {}, rows.map((row) => h('tr', {}, columns.map(([title, cell, kind]) =>
      h('td', { class: kind, 'data-label': title }, h('span', { class: 'break' }, cell(row) ?? '–')))))));
}

/** items: {name, ppm, detail?, quote?} */
export function shares(items) {
  return h('ul', { class: 'shares' }, items.map((item) => h('li', {},
    h('div', { class: 'share-line' },
      h('span', { class: 'break' }, item.name), h('span', { class: 'number' }, item.detail ? [item.detail, ' · '] : null, percent(item.ppm))),
    h('div', { class: 'track', 'aria-hidden': 'true' }, h('i', { share: `${item.ppm / 10000}%` })),
    item.quote ? h('p', { class: 'quote' }, item.quote) : null)));
}

/** items: {name, text, share from 0 to 1} */
export function bars(items) {
  return h('ul', { class: 'shares' }, items.map((item) => h('li', {},
    h('div', { class: 'share-line' }, h('span', { class: 'break' }, item.name), h('span', { class: 'number' }, item.text)),
    h('div', { class: 'track', 'aria-hidden': 'true' }, h('i', { share: `${Math.max(0, Math.min(1, item.share)) * 100}%` })))));
}

/** A box to tick, its label beside it. */
export function check(name, label) {
  const input = h('input', { type: 'checkbox', name });
  return { input, element: h('label', { class: 'check' }, input, h('span', { class: 'break' }, label)) };
}

export function checks(list) {
  const kinds = { pass: 'good', ok: 'good', fail: 'bad', fault: 'bad', warning: 'warn' };
  return h('ul', { class: 'checks' }, list.map((check) => h('li', {},
    pill(check.verdict, kinds[check.verdict] ?? ''),
    h('div', { class: 'break' }, h('strong', {}, sentence(check.name)), h('div', { class: 'soft small' }, check.message),
      check.remedy ? h('div', { class: 'small' }, kinds[check.verdict] === 'good' ? sentence(check.remedy) : `What to do: ${check.remedy}`) : null))));
}

let nextID = 0;
export function field(label, control, { hint, wide } = {}) {
  nextID += 1;
  control.id = `field-${nextID}`;
  const note = hint ? h('p', { class: 'hint', id: `hint-${nextID}` }, hint) : null;
  if (note) control.setAttribute('aria-describedby', note.id);
  return h('div', { class: wide ? 'wide' : null }, h('label', { for: control.id }, label), control, note);
}

/** Runs an action of a button: it cannot be pressed twice, and a failure is said beside it. */
export async function during(button, place, action) {
  button.disabled = true;
  fill(place);
  try {
    return await action();
  } catch (error) {
    if (error.name !== 'AbortError') fill(place, fault(error));
    return undefined;
  } finally {
    button.disabled = false;
  }
}

/** A list that fetches its next part on request. */
export function pages(load, render) {
  const body = h('div');
  const more = h('button', { type: 'button', hidden: true, onclick: () => next() }, 'Show more');
  const place = h('div', { 'aria-live': 'polite' });
  const rows = [];
  let cursor = null;
  async function next() {
    await during(more, place, async () => {
      const page = await load(cursor);
      rows.push(...page.items);
      cursor = page.next;
      fill(body, render(rows));
      more.hidden = cursor === null || cursor === undefined;
    });
  }
  const again = () => { rows.length = 0; cursor = null; return next(); };
  return { element: h('div', {}, body, place, h('div', { class: 'actions' }, more)), ready: next(), again };
}
