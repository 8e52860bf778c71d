// What this peer's account earns: estimated, pending and settled, by source, each payment with its reason.

import { h, fill, refresh, table, bars, amount, open, time, count, countOf, pages, empty, unpaid, short } from './dom.js';
import { api, paths } from './api.js';

const stages = [
  ['settled', 'Settled', 'A certified batch has paid it.'], ['pending', 'Pending', 'Its receipts wait for a batch.'],
  ['estimated', 'Estimated', 'Answered and signed; the network does not have the receipts yet.'],
];

export async function earnings(body, frame) {
  const path = (cursor, limit) => paths.one('accounts', 'me', `/earnings?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  const totals = h('div', { class: 'grid', 'aria-live': 'polite' });
  const sources = h('section', { class: 'card' });
  const days = h('div');
  let settled = null;
  const list = pages(
    async (cursor) => {
      const page = await api.get(path(cursor, 10), { signal: frame.signal });
      return { items: page.entries, next: page.next };
    },
    (rows) => (rows.length ? table('Payments', [
      ['Time', (e) => time(e.time_ms)], ['For', (e) => [e.note, e.source ? h('div', { class: 'soft small' }, e.source) : null]],
      ['Receipt', (e) => (e.receipt ? h('a', { href: `#/receipts/${e.receipt}` }, h('code', {}, short(e.receipt))) : '–')],
      ['Batch', (e) => h('a', { href: `#/chain/${e.height}` }, count(e.height)), 'number'],
      ['Amount', (e) => [e.sign === '-' ? '−' : '+', ' ', amount(e.amount)], 'number'],
    ], rows) : empty('Nothing is paid yet', 'Each payment will stand here with what it is for.')));
  const update = async () => {
    const data = await api.get(path(null, 1), { signal: frame.signal });
    refresh(totals, stages.map(([key, name, meaning]) => h('section', { class: 'card', 'aria-label': name },
      h('h2', {}, name), h('p', { class: 'money', id: `earned-${key}`, title: `${data[key]} OPEN` }, open(data[key], 9), ' ', h('small', {}, 'OPEN')), h('p', { class: 'soft small' }, meaning))));
    refresh(sources, h('h2', {}, 'By source'), bySource(data));
    refresh(days, byDay(data.days));
    const isNew = settled !== null && settled !== data.settled;
    settled = data.settled;
    if (isNew) { await list.again(); frame.refreshBalance(); }
  };
  fill(body, h('h1', {}, 'Earnings'), totals, sources, days,
    h('section', { class: 'card' }, h('h2', {}, 'Payments'),
      h('p', { class: 'soft' }, 'A receipt says which rows an answer is owed to; on its page the shares can be weighed again by another peer.'), list.element));
  await Promise.all([update(), list.ready]);
  frame.every(2000, () => update().catch(() => {}));
}

/** Days without a payment are left out. */
function byDay(days) {
  if (!days.length) return null;
  const most = Math.max(...days.map((d) => Number(d.settled))) || 1;
  const name = (ms) => new Date(ms).toLocaleDateString(undefined, { timeZone: 'UTC', day: 'numeric', month: 'short', year: 'numeric' });
  return h('section', { class: 'card' }, h('h2', {}, 'By day'), h('p', { class: 'soft small' }, 'Settled, in OPEN; days in UTC, the newest first.'),
    bars([...days].reverse().map((d) => ({ name: name(d.day_ms), text: amount(d.settled), share: Number(d.settled) / most }))));
}

function bySource(data) {
  return [
    data.sources.length ? table('Sources', [
      ['For', (s) => s.note], ['Source', (s) => s.source ?? 'the network'], ['Payments', (s) => count(s.payments), 'number'],
      ['Estimated', (s) => amount(s.estimated), 'number'], ['Pending', (s) => amount(s.pending), 'number'], ['Settled', (s) => amount(s.settled), 'number'],
    ], data.sources) : empty('Nothing is earned yet', 'Rows that you contribute earn when an answer is owed to them; a model or an adapter when it is asked for. ',
      h('a', { href: '#/datanets' }, 'Contribute rows'), ' or ', h('a', { href: '#/factory' }, 'train an adapter'), '.'),
    data.unpaid.length ? [h('h3', {}, 'Owed nothing'), h('ul', {}, data.unpaid.map((one) => h('li', {}, `${countOf(one.rows, 'row')} of yours stood in a prompt: ${unpaid(one)}.`)))] : null,
    Number(data.penalties) > 0 ? h('p', { class: 'notice' }, 'Penalties: ', amount(data.penalties), ' of the stake; they stand among the payments.') : null,
  ];
}
