// The receipts this peer knows, one in full, and a verdict per check for a bundle that someone brings.

import { h, fill, append, table, amount, pill, time, facts, shares, checks, idText, rowName, short, count, during, pages, empty, fault, unpaid } from './dom.js';
import { api, paths } from './api.js';

const roles = { payer: 'paid', server: 'served', both: 'paid and served' };
const kinds = { batched: 'good', refused: 'bad' };
const state = (receipt) => [pill(receipt.state, kinds[receipt.state] ?? ''), receipt.refusal ? ` ${receipt.refusal}` : ''];
const batchLink = (number) => (typeof number === 'number' ? h('a', { href: `#/chain/${number}` }, count(number)) : 'not yet');

export async function receipts(body, frame) {
  const list = pages(
    async (cursor) => {
      const page = await api.get(paths.list('receipts', cursor), { signal: frame.signal });
      return { items: page.receipts, next: page.next };
    },
    (rows) => (rows.length ? table('Receipts', [
      ['Receipt', (r) => h('a', { href: `#/receipts/${r.id}` }, h('code', {}, short(r.id)))],
      ['Time', (r) => time(r.time_ms)],
      ['Model', (r) => [r.model, r.datanet ? ` with ${r.datanet}` : '']],
      ['This peer', (r) => roles[r.role] ?? r.role], ['State', state], ['Batch', (r) => batchLink(r.batch), 'number'],
      ['Cost', (r) => amount(r.cost), 'number'],
    ], rows) : empty('No receipts yet', 'Every paid answer leaves one. ', h('a', { href: '#/chat' }, 'Ask a question'))));
  fill(body, h('h1', {}, 'Receipts'), verifier(), h('section', { class: 'card', 'aria-label': 'Known receipts' }, list.element));
  await list.ready;
}

function verifier() {
  const input = h('input', { type: 'file', id: 'bundle-file', 'aria-describedby': 'bundle-hint' });
  const result = h('div', { id: 'verdict', 'aria-live': 'polite' });
  const drop = h('label', { class: 'drop', for: 'bundle-file' }, input, h('strong', {}, 'Check a receipt bundle'),
    h('span', { class: 'soft', id: 'bundle-hint' }, 'Drop the file here, or choose it'));
  const check = async (file) => {
    if (!file) return;
    fill(result, h('p', { class: 'soft' }, `Checking ${file.name} …`));
    try {
      const answer = await api.post('/api/v1/receipts/verify', await file.arrayBuffer(), { type: 'application/vnd.ipld.dag-cbor' });
      fill(result, verdict(answer, file.name));
    } catch (error) { fill(result, fault(error)); }
    input.value = '';
  };
  input.addEventListener('change', () => check(input.files[0]));
  for (const name of ['dragenter', 'dragover']) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add('over'); });
  }
  for (const name of ['dragleave', 'drop']) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove('over'); });
  }
  drop.addEventListener('drop', (event) => check(event.dataTransfer.files[0]));
  return h('section', { class: 'card', 'aria-label': 'Check a bundle' }, drop, result);
}

function verdict(answer, name) {
  const isGood = answer.verdict === 'valid';
  return [
    h('div', { class: isGood ? 'good-note' : 'fault', role: 'status' },
      h('strong', {}, isGood ? 'Valid. ' : 'Not valid. '),
      isGood ? `${name} proves a receipt in batch ${answer.batch ?? '–'}.` : `${name} fails at least one check below.`),
    checks(answer.checks),
    answer.checkpoint ? h('p', { class: 'soft small' }, `Trusts the checkpoint at height ${count(answer.checkpoint.height)}.`) : null,
  ];
}

const kindNames = { bm25: 'its words (BM25)', retrieval: 'what each passage did for the answer', spans: 'what the answer says in a row\'s words', influence: 'what the adapter learnt from' };
const shareOutcomes = { same: 'the evidence gives these shares', differs: 'the evidence gives other shares', unable: 'could not be weighed' };
const outcomes = { same: 'the model gives this answer', differs: 'the model gives another answer', unable: 'could not be repeated' };

function audited(answer, words = outcomes) {
  const isGood = answer.holds === true;
  return [
    h('div', { class: isGood ? 'good-note' : 'fault', role: 'status' },
      h('strong', {}, isGood ? 'It holds. ' : 'It does not hold. '), words[answer.audit.outcome] ?? answer.audit.outcome,
      answer.evidence ? '. Two found the same: this is evidence.' : '.'),
    checks(answer.checks),
  ];
}

export async function receipt(body, frame, id) {
  const data = await api.get(paths.one('receipts', id), { signal: frame.signal });
  const place = h('div', { 'aria-live': 'polite' });
  const verify = h('button', { type: 'button', class: 'primary', onclick: () => during(verify, place, async () => {
    const bundle = await api.bytes(paths.one('receipts', id, '/bundle'));
    fill(place, verdict(await api.post('/api/v1/receipts/verify', bundle, { type: 'application/vnd.ipld.dag-cbor' }), 'The bundle'));
  }) }, 'Check its proof');
  const found = h('div', { 'aria-live': 'polite' });
  const audit = (here) => h('button', { type: 'button', onclick: (event) => during(event.currentTarget, found, async () => {
    fill(found, audited(await api.post(paths.one('receipts', id, '/audit'), { here })));
  }) }, here ? 'Repeat it on this peer' : 'Have a neighbour repeat it');
  const weigh = h('button', { type: 'button', onclick: (event) => during(event.currentTarget, found, async () => {
    fill(found, audited(await api.post(paths.one('receipts', id, '/audit'), { attribution: true }), shareOutcomes));
  }) }, 'Weigh its shares again');
  const shareNames = { server: 'Server', model_owner: 'Model owner', adapter_owners: 'Adapter owners', contributors: 'Contributors', committee: 'Committee', treasury: 'Treasury', burn: 'Burned' };
  fill(body, h('a', { class: 'crumb', href: '#/receipts' }, '← Receipts'),
    h('h1', {}, 'Receipt ', h('code', { class: 'break' }, short(data.id))),
    h('section', { class: 'card', 'aria-label': 'Summary' }, facts(
      ['State', state(data)], ['Batch', batchLink(data.batch)], ['Cost', amount(data.cost)], ['Time', time(data.time_ms)],
      ['Model', data.model], ['Datanet', data.datanet ? h('a', { href: `#/datanets/${encodeURIComponent(data.datanet)}` }, data.datanet) : 'none'],
      ['Tokens', `${count(data.prompt_tokens)} in the prompt, ${count(data.completion_tokens)} in the answer`],
      ['Payer', h('code', {}, data.payer)], ['Server', h('code', {}, data.server)], ['Identifier', h('code', {}, data.id)]),
    h('div', { class: 'actions' }, verify,
      data.state === 'batched' ? h('a', { class: 'button', href: paths.one('receipts', id, '/bundle'), download: '' }, 'Download bundle') : null), place),
    data.contributors?.length ? h('section', { class: 'card' }, h('h2', {}, 'Contributors'),
      shares(data.contributors.map((c) => ({ name: idText(c.account), ppm: c.ppm, detail: amount(c.amount) })))) : null,
    data.sources?.length ? h('section', { class: 'card' }, h('h2', {}, 'Rows'),
      h('p', { class: 'soft' }, data.evidence_kinds?.length ? `Weighed by ${data.evidence_kinds.map((kind) => kindNames[kind] ?? kind).join(' and ')}.` : 'Nothing was weighed.'),
      shares(data.sources.map((s) => ({ name: rowName(s), ppm: s.ppm, quote: s.text, detail: unpaid(s) })))) : null,
    data.role === 'none' ? null : h('section', { class: 'card' }, h('h2', {}, 'Audit'),
      h('p', { class: 'soft' }, 'The model is asked again, token for token. A neighbour that does it is shown the prompt.'),
      data.audits?.length ? table('Audits', [
        ['Outcome', (a) => pill(outcomes[a.outcome] ?? a.outcome, a.outcome === 'same' ? 'good' : a.outcome === 'differs' ? 'bad' : '')],
        ['By', (a) => (a.own ? 'this peer' : idText(a.auditor))], ['Time', (a) => time(a.time_ms)],
      ], data.audits) : null,
      h('div', { class: 'actions' }, audit(false), audit(true), data.datanet ? weigh : null), found),
    data.shares ? h('section', { class: 'card' }, h('h2', {}, 'Where the fee went'),
      facts(...Object.entries(shareNames).filter(([key]) => Number(data.shares[key] ?? 0) > 0).map(([key, name]) => [name, amount(data.shares[key])]))) : null,
    data.receipt ? h('section', { class: 'card' }, h('details', {}, h('summary', {}, 'Every signed field'),
      append(h('pre', { tabindex: 0 }), [JSON.stringify(data.receipt, null, 2)]))) : null);
  verify.hidden = data.state !== 'batched';
}
