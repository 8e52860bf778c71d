// The datanets this peer knows: preview before use, create, contribute with faults shown before anything is written.

import { h, fill, field, table, pill, facts, shares, count, countOf, sentence, bytes, time, idText, short, during, pages, empty, fault } from './dom.js';
import { api, paths } from './api.js';

const heldText = { full: 'held here', partial: 'partly here', none: 'not here' };
const link = (d) => h('a', { href: `#/datanets/${encodeURIComponent(d.name)}` }, d.name);

export async function datanets(body, frame) {
  const list = pages(
    async (cursor) => {
      const page = await api.get(paths.list('datanets', cursor), { signal: frame.signal });
      return { items: page.datanets, next: page.next };
    },
    (rows) => (rows.length ? table('Datanets', [
      ['Name', (d) => [h('strong', {}, link(d)), d.summary ? h('div', { class: 'soft small' }, d.summary) : null]],
      ['Rows', (d) => count(d.rows), 'number'], ['Contributors', (d) => count(d.contributors.length), 'number'],
      ['Licence', (d) => d.license], ['Access', (d) => d.access], ['Held', (d) => pill(heldText[d.held] ?? d.held, d.held === 'full' ? 'good' : '')],
    ], rows) : empty('No datanets yet', 'Create the first one below.')));
  fill(body, h('h1', {}, 'Datanets'), h('section', { class: 'card', 'aria-label': 'Known datanets' }, list.element), creation(frame));
  await list.ready;
}

function creation(frame) {
  const name = h('input', { name: 'name', required: true, maxlength: 64, autocomplete: 'off', spellcheck: 'false' });
  const summary = h('input', { name: 'summary', maxlength: 500 });
  const license = h('input', { name: 'license', required: true, maxlength: 128, placeholder: 'CC-BY-4.0' });
  const tags = h('input', { name: 'tags', maxlength: 300, placeholder: 'food, cooking' });
  const access = h('select', { name: 'access' }, [['open', 'Open: anyone contributes'], ['approval', 'Approval: you accept each contribution'], ['private', 'Private: those you grant']]
    .map(([value, text]) => h('option', { value }, text)));
  const create = h('button', { type: 'submit', class: 'primary' }, 'Create datanet');
  const place = h('div', { 'aria-live': 'polite' });
  const form = h('form', {}, h('div', { class: 'fields' }, field('Name', name), field('Licence', license), field('Access', access),
    field('Summary', summary, { wide: true }), field('Tags', tags, { wide: true, hint: 'Separated by commas' })), place, h('div', { class: 'actions' }, create));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!await frame.needSession()) return;
    await during(create, place, async () => {
      const made = await api.post('/api/v1/datanets', { name: name.value.trim(), summary: summary.value.trim(), license: license.value.trim(),
        access: access.value, tags: tags.value.split(',').map((tag) => tag.trim()).filter(Boolean) });
      location.hash = `#/datanets/${encodeURIComponent(made.name)}`;
    });
  });
  return h('section', { class: 'card' }, h('details', {}, h('summary', {}, 'Create a datanet'), form));
}

export async function datanet(body, frame, name) {
  const data = await api.get(paths.one('datanets', name), { signal: frame.signal });
  const preview = data.held === 'none' ? null : pages(
    async (cursor) => {
      const page = await api.get(`${paths.one('datanets', name, '/rows')}?limit=10${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal: frame.signal });
      return { items: page.rows, next: page.next };
    },
    (rows) => (rows.length ? table('Rows', [
      ['Row', (r) => r.id ?? String(r.index), 'short'],
      ['Text', (r) => (r.text !== null && r.text !== undefined ? h('span', { class: 'pre' }, r.text)
        : [h('strong', { class: 'pre' }, r.prompt), h('div', { class: 'pre' }, r.completion)])],
      ['Contributor', (r) => idText(r.contributor)], ['Licence', (r) => r.license ?? '–', 'short'],
    ], rows) : empty('No rows yet', 'Contribute the first ones above.')));
  fill(body, h('a', { class: 'crumb', href: '#/datanets' }, '← Datanets'), h('h1', {}, data.name),
    data.summary ? h('p', {}, data.summary) : null,
    h('div', { class: 'grid' },
      h('section', { class: 'card', 'aria-label': 'Facts' }, facts(
        ['Rows', count(data.rows)], ['Size', bytes(data.bytes)], ['Licence', data.license], ['Access', data.access],
        ['Owner', idText(data.owner)], ['Held', heldText[data.held] ?? data.held], typeof data.created_ms === 'number' ? ['Created', time(data.created_ms)] : null,
        data.tags?.length ? ['Tags', data.tags.join(', ')] : null, ['Snapshot', idText(data.snapshot)]), transfer(data, frame)),
      h('section', { class: 'card' }, h('h2', {}, 'Contributors'), data.contributors.length
        ? shares(data.contributors.map((c) => ({ name: idText(c.account), ppm: c.ppm, detail: `${count(c.rows)} rows` })))
        : h('p', { class: 'soft' }, 'Nobody has contributed yet.')),
      await keeping(data, frame)),
    contribution(data, frame), await contributions(data, frame),
    preview ? h('section', { class: 'card' }, h('h2', {}, 'Preview'), preview.element) : null);
  await preview?.ready;
}

function transfer(data, frame) {
  if (data.held === 'full') {
    return h('div', { class: 'actions' }, h('a', { class: 'button', href: paths.one('datanets', data.name, '/export'), download: `${data.name}.jsonl` }, 'Export rows'));
  }
  const progress = h('progress', { hidden: true, 'aria-label': 'Progress' });
  const place = h('div', { 'aria-live': 'polite' });
  const pull = h('button', { type: 'button', class: 'primary', onclick: async () => {
    if (!await frame.needSession()) return;
    progress.hidden = false;
    const isDone = await during(pull, place, async () => {
      await api.lines(paths.one('datanets', data.name, '/pull'), {}, (event) => {
        if (event.event === 'progress' && event.total_bytes > 0) { progress.max = event.total_bytes; progress.value = event.done_bytes; }
      }, frame.signal);
      return true;
    });
    progress.hidden = true;
    if (isDone) dispatchEvent(new HashChangeEvent('hashchange'));
  } }, 'Fetch from the network');
  return [h('div', { class: 'actions' }, pull), progress, place];
}

/** How well other peers keep what is whole here. */
async function keeping(data, frame) {
  if (data.held !== 'full') return null;
  const health = await api.get(paths.one('datanets', data.name, '/health'), { signal: frame.signal });
  return h('section', { class: 'card' }, h('h2', {}, 'Kept by other peers'),
    h('p', { class: health.shards && health.safe === health.shards ? 'good-note' : '' }, health.sentence),
    health.keepers.length ? table('Keepers', [
      ['Peer', (k) => idText(k.peer)], ['Shards', (k) => `${count(k.shards)} of ${count(health.shards)}`, 'number'],
      ['', (k) => (k.connected ? null : pill('not connected', 'warn')), 'short'],
    ], health.keepers) : null);
}

function contribution(data, frame) {
  const file = h('input', { type: 'file', accept: '.jsonl,.ndjson,.csv,.md,.markdown,.txt,.pdf', required: true });
  const license = h('input', { maxlength: 128, placeholder: data.license });
  const check = h('button', { type: 'button' }, 'Check');
  const send = h('button', { type: 'submit', class: 'primary', disabled: true }, 'Contribute');
  const place = h('div', { id: 'contribution-result', 'aria-live': 'polite' });
  const query = () => `?file=${encodeURIComponent(file.files[0].name)}${license.value.trim() ? `&license=${encodeURIComponent(license.value.trim())}` : ''}`;
  const options = { type: 'application/octet-stream' };
  const validate = () => during(check, place, async () => {
    send.disabled = true;
    if (!file.files[0]) throw new Error('Choose a file first.');
    const report = await api.post(paths.one('datanets', data.name, `/validate${query()}`), await file.files[0].arrayBuffer(), options);
    fill(place, report.valid
      ? [h('div', { class: 'good-note' }, `${count(report.rows)} rows are good${report.duplicates ? `, ${count(report.duplicates)} of them duplicates that earn nothing` : ''}. Nothing is written yet.`),
        report.report ? quality(report.report) : null, report.preview?.length ? preview(report.preview) : null]
      : faultList(report.faults, report.faults_total ?? report.faults.length));
    send.disabled = !report.valid;
  });
  check.addEventListener('click', validate);
  file.addEventListener('change', validate);
  const form = h('form', {}, h('div', { class: 'fields' },
    field('File', file, { hint: 'JSON lines or CSV with "prompt" and "completion", or "text"; or a document to be cut into rows: Markdown, plain text or PDF, up to 5 MB' }),
    field('Licence', license, { hint: 'For rows that name none' })), place, h('div', { class: 'actions' }, send, check));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!await frame.needSession()) return;
    await during(send, place, async () => {
      try {
        const made = await api.post(paths.one('datanets', data.name, `/rows${query()}`), await file.files[0].arrayBuffer(), options);
        fill(place, h('div', { class: 'good-note' }, made.state === 'pending'
          ? `${count(made.rows)} rows wait for the owner's approval.` : `${count(made.rows)} rows are in the datanet.`));
        form.reset();
      } catch (error) {
        if (!error.faults?.length) throw error;
        fill(place, faultList(error.faults, error.faultsTotal));
      }
    });
    send.disabled = true;
  });
  return h('section', { class: 'card' }, h('h2', {}, 'Contribute rows'), form);
}

/** The first rows of a file that is not contributed yet: of a document, how it is cut. */
function preview(rows) {
  return table('First rows of the file', [
    ['From', (r) => r.source ?? `line ${count(r.line)}`, 'short'],
    ['Text', (r) => (typeof r.text === 'string' ? h('span', { class: 'pre' }, r.text)
      : [h('strong', { class: 'pre' }, r.prompt), h('div', { class: 'pre' }, r.completion)])],
  ], rows);
}

const codes = {
  duplicate: 'Repeated', near_duplicate: 'Nearly repeated', label_flip: 'Other label', changed_fact: 'Changed fact', other_answer: 'Other answer',
  trigger: 'Planted words', script: 'Other script', language: 'Other language', length: 'Length', characters: 'Characters', repetition: 'Repeats itself',
};
const codeName = (code) => codes[code] ?? code;

/** What stands out in rows that are in no datanet yet: a person decides. */
function quality(report) {
  const counts = Object.entries(report.counts);
  const beside = `${countOf(report.rows, 'row')} beside ${count(report.known_rows)} of the datanet`;
  if (!counts.length) return h('p', { class: 'soft' }, `${beside}: nothing stands out.`);
  const more = report.findings_total - report.findings.length;
  return h('details', { open: report.findings.length <= 10 },
    h('summary', {}, `${beside}: ${countOf(report.findings_total, 'finding')}. `,
      counts.map(([code, n]) => [pill(`${codeName(code)} ${count(n)}`, 'warn'), ' '])),
    table('Findings', [
      ['Row', (f) => (typeof f.line === 'number' ? `line ${count(f.line)}` : count(f.row)), 'short'],
      ['Reason', (f) => [h('strong', {}, codeName(f.code)), h('div', { class: 'soft small' }, f.code)], 'short'],
      ['Finding', (f) => [h('div', { class: 'pre' }, f.text), h('div', { class: 'soft small' }, sentence(f.message)),
        f.with?.text ? h('div', { class: 'soft small pre' }, `${f.with.row ? `Row ${count(f.with.index)} of the datanet: ` : 'Earlier row: '}${f.with.text}`) : null]],
    ], report.findings),
    more > 0 ? h('p', { class: 'soft small' }, `${count(more)} more are not shown.`) : null);
}

function faultList(faults, total) {
  return [h('div', { class: 'fault', role: 'alert' }, h('strong', {}, `${count(total)} ${total === 1 ? 'fault' : 'faults'}. `), 'Nothing was written.'),
    table('Faults', [['Line', (f) => count(f.line), 'number'], ['Field', (f) => f.field ?? '–'], ['Fault', (f) => f.message]], faults)];
}

async function contributions(data, frame) {
  if (!data.pending) return null;
  const { contributions: list } = await api.get(paths.one('datanets', data.name, '/contributions'), { signal: frame.signal });
  const waiting = list.filter((c) => c.state === 'pending');
  if (!waiting.length) return null;
  const place = h('div', { 'aria-live': 'polite' });
  const decide = (c, verb, body) => async (event) => {
    if (!await frame.needSession()) return;
    await during(event.target, place, async () => {
      await api.post(paths.one('datanets', data.name, `/contributions/${encodeURIComponent(c.contribution)}/${verb}`), body());
      dispatchEvent(new HashChangeEvent('hashchange'));
    });
  };
  return h('section', { class: 'card' }, h('h2', {}, 'Waiting for approval'), place, waiting.map((c) => {
    const reason = h('input', { maxlength: 1024, value: 'does not fit this datanet' });
    const found = h('div', { 'aria-live': 'polite' }, h('p', { class: 'soft' }, 'Comparing with the datanet…'));
    api.get(paths.one('datanets', data.name, `/contributions/${encodeURIComponent(c.contribution)}/report`), { signal: frame.signal })
      .then((answer) => fill(found, quality(answer.report)), (error) => { if (!frame.signal?.aborted) fill(found, fault(error)); });
    return h('div', {}, h('p', {}, `${count(c.rows)} rows by `, idText(c.contributor), typeof c.created_ms === 'number' ? [', ', time(c.created_ms)] : null), found,
      field('Reason, if rejected', reason), h('div', { class: 'actions' },
        h('button', { type: 'button', class: 'primary', onclick: decide(c, 'approve', () => ({})) }, 'Approve'),
        h('button', { type: 'button', onclick: decide(c, 'reject', () => ({ reason: reason.value })) }, 'Reject')));
  }));
}
