// The adapters this peer knows: what is in memory, how often each was asked for and found there, and several as one.

import { h, fill, refresh, field, table, pill, bars, check, count, bytes, time, open, idText, during, empty } from './dom.js';
import { api, paths } from './api.js';

const states = { resident: ['in memory', 'good'], loading: ['loading', 'warn'], waiting: ['waiting for room', 'warn'], disk: ['on disk', ''], elsewhere: ['not here', ''] };
const strategies = [['linear', 'Linear: the weighted sum'], ['ties', 'TIES: the greatest parts, majority sign'],
  ['dare_linear', 'DARE: a random part, scaled up'], ['dare_ties', 'DARE with majority sign']];
const signed = (weight) => String(Number(weight.toFixed(6)));

export async function adapters(body, frame) {
  const list = h('div');
  const charts = h('div');
  const mixes = h('div');
  const place = h('div', { 'aria-live': 'polite' });
  let known = [];
  const show = async () => {
    const [page, { fusions }] = await Promise.all([
      api.get(paths.list('adapters', null, 200), { signal: frame.signal }), api.get('/api/v1/fusions', { signal: frame.signal })]);
    known = page.adapters;
    refresh(list, known.length ? overview(known, act) : empty('No adapters yet', 'Import one with: openledger adapter import DIR --name N --model M'));
    refresh(charts, used(known));
    refresh(mixes, fusions.length ? fusions.map((fusion) => mix(fusion, forget)) : empty('No fusions yet', 'Make one below.'));
  };
  const act = (adapter, action) => async (event) => {
    if (!await frame.needSession()) return;
    await during(event.currentTarget, place, async () => {
      if (action === 'pull') await api.lines(paths.one('adapters', adapter.name, '/pull'), {}, () => {}, frame.signal);
      else await api.post(paths.one('adapters', adapter.name, `/${action}`));
    });
    await show().catch(() => {});
  };
  const forget = (fusion) => async (event) => {
    if (!await frame.needSession()) return;
    await during(event.currentTarget, place, () => api.delete(paths.one('fusions', fusion.name)));
    await show().catch(() => {});
  };
  await show();
  fill(body, h('h1', {}, 'Adapters'),
    h('section', { class: 'card', 'aria-label': 'Known adapters' }, place, list),
    h('section', { class: 'card' }, h('h2', {}, 'Use since the start'), charts),
    h('section', { class: 'card' }, h('h2', {}, 'Fusions'), mixes),
    creation(frame, known, show));
  frame.every(5000, () => show().catch(() => {}));
}

function overview(list, act) {
  const button = (adapter, action, text) => h('button', { type: 'button', class: 'quiet', 'aria-label': `${text} ${adapter.name}`, onclick: act(adapter, action) }, text);
  const resident = list.filter((a) => a.state === 'resident');
  return [
    h('p', { class: 'soft' }, `${count(resident.length)} of ${count(list.length)} in memory, ${bytes(resident.reduce((sum, a) => sum + a.memory_bytes, 0))}. `
      + 'An adapter is read when it is first asked for, and leaves when others need the room; a pinned one stays.'),
    table('Adapters', [
      ['Name', (a) => [h('strong', {}, a.name), h('div', { class: 'soft small' }, `${a.model ?? '–'}${a.rank ? `, rank ${a.rank}` : ''}, ${bytes(a.bytes)}`)]],
      ['State', (a) => [pill(...(states[a.state] ?? [a.state, ''])), a.pinned ? [' ', pill('pinned', 'good')] : null,
        a.published === false ? [' ', pill('not published', 'warn')] : null,
        a.running || a.queued ? h('div', { class: 'small soft' }, `${count(a.running)} running, ${count(a.queued)} waiting`) : null,
        a.last_fault ? h('div', { class: 'small' }, `Last fault: ${a.last_fault}`) : null]],
      ['Last used', (a) => time(a.last_used_ms)],
      ['Price', (a) => (a.price ? h('span', { title: `${a.price.prompt_token} OPEN a prompt token, ${a.price.request} OPEN a question` }, `${open(a.price.completion_token)} OPEN a token`) : '–')],
      ['Owner', (a) => (a.owner ? idText(a.owner) : '–')],
      ['Actions', (a) => h('span', { class: 'row-actions' }, a.held === 'none' ? button(a, 'pull', 'Fetch')
        : [a.state === 'resident' ? button(a, 'unload', 'Unload') : button(a, 'load', 'Load'),
          a.pinned ? button(a, 'unpin', 'Unpin') : button(a, 'pin', 'Pin'),
          a.published === false ? button(a, 'publish', 'Publish') : null])],
    ], list)];
}

/** Requests, and how many of them found the adapter in memory. */
function used(list) {
  const asked = list.filter((a) => a.requests > 0).sort((a, b) => b.requests - a.requests || a.name.localeCompare(b.name)).slice(0, 12);
  if (!asked.length) return h('p', { class: 'soft' }, 'No adapter has been asked for yet.');
  const most = asked[0].requests;
  return h('div', { class: 'grid' },
    h('div', {}, h('h3', {}, 'Requests'), bars(asked.map((a) => ({ name: a.name, text: count(a.requests), share: a.requests / most })))),
    h('div', {}, h('h3', {}, 'Cache hits'), bars(asked.map((a) => ({
      name: a.name, text: `${Math.round((100 * a.cache_hits) / a.requests)}% found in memory, ${count(a.loads)} loads`, share: a.cache_hits / a.requests })))));
}

function mix(fusion, forget) {
  const most = Math.max(...fusion.adapters.map((a) => Math.abs(a.weight)), 1e-9);
  const how = strategies.find(([value]) => value === fusion.merge_strategy)?.[1] ?? fusion.merge_strategy;
  return h('article', { class: 'apart', 'aria-label': fusion.name },
    h('div', { class: 'head' }, h('h3', {}, `${fusion.model}:${fusion.name}`), h('span', { class: 'soft small' }, how, fusion.merge_strategy === 'linear' ? null : `, density ${fusion.density}`)),
    bars(fusion.adapters.map((a) => ({ name: a.name, text: signed(a.weight), share: Math.abs(a.weight) / most }))),
    h('div', { class: 'actions' }, h('button', { type: 'button', class: 'quiet', 'aria-label': `Remove ${fusion.name}`, onclick: forget(fusion) }, 'Remove')));
}

function creation(frame, known, show) {
  const models = [...new Set(known.map((a) => a.model).filter(Boolean))];
  if (!models.length) return null;
  const name = h('input', { name: 'fusion-name', required: true, maxlength: 64, autocomplete: 'off', spellcheck: 'false' });
  const model = h('select', { name: 'fusion-model' }, models.map((m) => h('option', { value: m }, m)));
  const strategy = h('select', { name: 'fusion-strategy' }, strategies.map(([value, text]) => h('option', { value }, text)));
  const density = h('input', { name: 'fusion-density', type: 'number', min: 0.05, max: 1, step: 0.05, value: 0.5 });
  const densityField = field('Density', density, { hint: 'The share of each factor that is kept' });
  const parts = h('div', { class: 'mixer', role: 'group', 'aria-label': 'Weights' });
  const create = h('button', { type: 'submit', class: 'primary' }, 'Make fusion');
  const place = h('div', { 'aria-live': 'polite' });
  let rows = [];
  const showParts = () => {
    rows = known.filter((a) => a.model === model.value).map(slider);
    fill(parts, rows.map((row) => row.element));
  };
  const showDensity = () => { densityField.hidden = strategy.value === 'linear'; };
  model.addEventListener('change', showParts);
  strategy.addEventListener('change', showDensity);
  showParts();
  showDensity();
  const form = h('form', {}, h('div', { class: 'fields' }, field('Name', name, { hint: 'Asked for as MODEL:NAME' }), field('Model', model), field('How', strategy), densityField),
    parts, place, h('div', { class: 'actions' }, create));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!await frame.needSession()) return;
    await during(create, place, async () => {
      const chosen = rows.filter((row) => row.isChosen());
      if (!chosen.length) throw new Error('Choose at least one adapter.');
      const merge = { ids: chosen.map((row) => row.name), weights: chosen.map((row) => row.weight()), merge_strategy: strategy.value };
      if (strategy.value !== 'linear') merge.density = Number(density.value);
      const made = await api.post('/api/v1/fusions', { name: name.value.trim(), model: model.value, merged_adapters: merge });
      fill(place, h('div', { class: 'good-note' }, `${made.model}:${made.name} can be asked for now.`));
      form.reset();
      showParts();
      showDensity();
      await show();
    });
  });
  return h('section', { class: 'card' }, h('details', { open: true }, h('summary', {}, 'Make a fusion'), form));
}

/** An adapter's part: whether it is in, and its weight by slider or number. */
function slider(adapter) {
  const chosen = check(`part-${adapter.name}`, adapter.name);
  const range = h('input', { type: 'range', min: -1, max: 2, step: 0.05, value: 1, 'aria-label': `Weight of ${adapter.name}, slider` });
  const number = h('input', { type: 'number', min: -16, max: 16, step: 'any', value: 1, 'aria-label': `Weight of ${adapter.name}` });
  range.addEventListener('input', () => { number.value = range.value; chosen.input.checked = true; });
  number.addEventListener('input', () => { range.value = number.value; chosen.input.checked = true; });
  return { name: adapter.name, isChosen: () => chosen.input.checked, weight: () => Number(number.value),
    element: h('div', { class: 'mixer-row' }, chosen.element, range, number) };
}
