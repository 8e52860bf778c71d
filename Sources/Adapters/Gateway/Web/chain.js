// Batches, committee, and this peer's account: what moved, and moving it.

import { h, fill, field, table, facts, amount, open, pill, time, idText, count, countOf, during, pages, empty, sentence } from './dom.js';
import { api, paths } from './api.js';

const batchColumns = [
  ['Height', (b) => h('a', { href: `#/chain/${b.height}` }, count(b.height))], ['Time', (b) => time(b.time_ms)],
  ['Receipts', (b) => count(b.receipts), 'number'], ['Transactions', (b) => count(b.transactions), 'number'],
  ['Signed by', (b) => `${b.certificate.seats} of ${b.certificate.of} seats`], ['Fees', (b) => amount(b.fees), 'number'],
];

export async function chain(body, frame) {
  const accountCard = h('section', { class: 'card', 'aria-label': 'Account' });
  const showAccount = async () => fill(accountCard, account(await api.get(paths.one('accounts', 'me'), { signal: frame.signal })));
  const moved = async () => { await Promise.all([showAccount(), history.again(), batches.again()]); frame.refreshBalance(); };
  const history = pages(
    async (cursor) => {
      const page = await api.get(paths.one('accounts', 'me', `/history?limit=10${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`), { signal: frame.signal });
      return { items: page.entries, next: page.next };
    },
    (rows) => (rows.length ? table('History', [
      ['Time', (e) => time(e.time_ms)], ['What', (e) => [sentence(e.kind.replaceAll('_', ' ')), e.note && e.note !== e.kind ? h('div', { class: 'soft small' }, e.note) : null]],
      ['With', (e) => (e.counterparty ? idText(e.counterparty) : '–')], ['Batch', (e) => h('a', { href: `#/chain/${e.height}` }, count(e.height)), 'number'],
      ['Amount', (e) => [e.sign === '-' ? '−' : '+', ' ', amount(e.amount)], 'number'],
    ], rows) : empty('Nothing has moved yet', 'Fees, transfers and stakes will stand here.')));
  const batches = pages(
    async (cursor) => {
      const page = await api.get(paths.list('batches', cursor, 10), { signal: frame.signal });
      return { items: page.batches, next: page.next };
    },
    (rows) => (rows.length ? table('Batches', batchColumns, rows) : empty('No batches yet', 'The first certified batch will stand here.')));
  const committeeCard = h('section', { class: 'card', 'aria-label': 'Committee' });
  fill(body, h('h1', {}, 'Chain'), accountCard, h('section', { class: 'card' }, h('h2', {}, 'Move OPEN'), moves(frame, moved)),
    h('section', { class: 'card' }, h('h2', {}, 'History'), history.element),
    h('section', { class: 'card' }, h('h2', {}, 'Batches'), batches.element), committeeCard);
  await Promise.all([showAccount(), history.ready, batches.ready, (async () => {
    fill(committeeCard, committee(await api.get('/api/v1/committee', { signal: frame.signal })));
  })()]);
}

function account(data) {
  const { balance } = data;
  return [h('h2', {}, 'Account'), h('p', { class: 'money', title: `${balance.free} OPEN` }, open(balance.free, 4), ' ', h('small', {}, 'OPEN free')),
    facts(['Pending', amount(balance.pending)], ['Locked', amount(balance.locked)], ['Staked', amount(balance.staked)],
      ['Unbonding', amount(balance.unbonding)], ['Claimable', amount(balance.claimable)], ['Account', h('code', {}, data.account)])];
}

function moves(frame, moved) {
  const kinds = {
    transfer: ['Transfer', 'to another account'], stake: ['Stake', 'for a seat in the committee'],
    unstake: ['Unstake', 'release what is staked'], claim: ['Claim', 'take what is claimable'],
    faucet: ['Faucet', 'take test OPEN'],
  };
  const kind = h('select', { name: 'kind' }, Object.entries(kinds).map(([value, [name, text]]) => h('option', { value }, `${name}: ${text}`)));
  const to = h('input', { name: 'to', maxlength: 128, spellcheck: 'false', autocomplete: 'off', placeholder: '12D3KooW…' });
  const sum = h('input', { name: 'amount', maxlength: 40, inputmode: 'decimal', autocomplete: 'off', placeholder: '1.5' });
  const toField = field('To account', to, { wide: true });
  const sumField = field('Amount in OPEN', sum);
  const submit = h('button', { type: 'submit', class: 'primary' });
  const place = h('div', { 'aria-live': 'polite' });
  const adapt = () => {
    toField.hidden = kind.value !== 'transfer';
    sumField.hidden = !['transfer', 'stake', 'unstake'].includes(kind.value);
    to.required = !toField.hidden;
    sum.required = !sumField.hidden;
    submit.textContent = kinds[kind.value][0];
  };
  kind.addEventListener('change', adapt);
  adapt();
  const form = h('form', {}, h('div', { class: 'fields' }, field('What', kind, { wide: true }), toField, sumField), place, h('div', { class: 'actions' }, submit));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!await frame.needSession()) return;
    await during(submit, place, async () => {
      const body = { wait: true };
      if (!toField.hidden) body.to = to.value.trim();
      if (!sumField.hidden) body.amount = sum.value.trim();
      fill(place, h('p', { class: 'soft' }, 'Waiting for the batch …'));
      const made = kind.value === 'faucet' ? await settled(await api.post('/api/v1/faucet'), frame.signal)
        : await api.post(paths.one('accounts', 'me', `/${kind.value}`), body);
      if (made.state === 'refused') throw new Error(`Refused: ${refusals[made.refusal] ?? made.refusal}. Nothing has moved.`);
      fill(place, h('div', { class: 'good-note' }, typeof made.batch === 'number'
        ? ['Done, in ', h('a', { href: `#/chain/${made.batch}` }, `batch ${count(made.batch)}`), '.'] : 'Sent; it waits for the next batch.'));
      to.value = '';
      sum.value = '';
      await moved();
    });
  });
  return form;
}

const refusals = { faucetTaken: 'this account has taken from the faucet already', insufficientBalance: 'the free balance does not cover it' };

/** Follows a transaction that was sent until a batch holds it or refuses it, a few seconds long. */
async function settled(made, signal) {
  let seen = made;
  for (let round = 0; round < 20 && seen.state === 'pooled'; round += 1) {
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    seen = await api.get(paths.one('transactions', made.transaction), { signal });
  }
  return seen;
}

function committee(data) {
  return [h('h2', {}, 'Committee'), h('p', { class: 'soft' },
    `Epoch ${count(data.epoch)}: a batch needs the signatures of ${count(data.quorum)} of ${countOf(data.total_seats, 'seat')}. The next epoch begins at height ${count(data.next_epoch_height)}.`),
    table('Committee', [['Peer', (s) => idText(s.peer)], ['Seats', (s) => count(s.seats), 'number'], ['Stake', (s) => amount(s.stake), 'number']], data.seats)];
}

export async function batch(body, frame, height) {
  const data = await api.get(paths.one('batches', height), { signal: frame.signal });
  const receiptIDs = data.receipt_ids ?? [];
  const transactionIDs = data.transaction_ids ?? [];
  fill(body, h('a', { class: 'crumb', href: '#/chain' }, '← Chain'), h('h1', {}, `Batch ${count(data.height)}`),
    h('section', { class: 'card', 'aria-label': 'Batch' }, facts(
      ['Time', time(data.time_ms)], ['Certificate', pill(`${data.certificate.seats} of ${data.certificate.of} seats`, 'good')],
      ['Epoch, view', `${count(data.epoch)}, ${count(data.view)}`], ['Builder', h('code', {}, data.builder)], ['Fees', amount(data.fees)],
      ['Header', h('code', {}, data.header)], ['Parent', h('code', {}, data.parent)], ['State root', h('code', {}, data.state_root)],
      ['Receipts root', h('code', {}, data.receipts_root)], ['Signers', data.certificate.signers.map((s) => h('div', {}, h('code', {}, s)))])),
    h('section', { class: 'card' }, h('h2', {}, `Receipts (${count(data.receipts)})`), receiptIDs.length
      ? table('Receipts', [['Receipt', (id) => h('a', { href: `#/receipts/${id}` }, h('code', {}, id))]], receiptIDs) : h('p', { class: 'soft' }, 'None in this batch.')),
    transactionIDs.length ? h('section', { class: 'card' }, h('h2', {}, `Transactions (${count(data.transactions)})`),
      table('Transactions', [['Transaction', (id) => h('code', {}, id)]], transactionIDs)) : null);
}
