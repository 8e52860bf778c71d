// A question and its answers side by side: the model itself, an adapter, a fusion. Each with the rows it is owed to, its
// speed, its cost and its receipt; what it would cost is said before it is asked.

import { h, fill, append, field, fault, shares, rowName, short, amount, open, count, idText, check, unpaid } from './dom.js';
import { api, paths, session } from './api.js';

const quoteDelayMilliseconds = 400;

export async function chat(body, frame) {
  const [models, adapters, datanets, { fusions }] = await Promise.all([
    ...['models', 'adapters', 'datanets'].map((noun) => api.get(paths.list(noun, null, 200), { signal: frame.signal })),
    api.get('/api/v1/fusions', { signal: frame.signal })]);
  const model = h('select', { name: 'model' }, models.models.map((m) => h('option', { value: m.name }, m.name)));
  const adapter = h('select', { name: 'adapter' });
  const fusion = h('select', { name: 'fusion' });
  const base = check('base', 'Compare with the model itself');
  const modelField = field('Model', model, { hint: ' ' });
  const showModel = () => {
    const names = (list) => list.filter((a) => a.model === model.value).map((a) => h('option', { value: a.name }, a.name));
    fill(adapter, h('option', { value: '' }, 'No adapter'), names(adapters.adapters));
    fill(fusion, h('option', { value: '' }, 'No fusion'), names(fusions));
    fill(modelField.querySelector('.hint'), price(models.models.find((m) => m.name === model.value)?.price));
    showColumns();
  };
  const datanet = h('select', { name: 'datanet' }, h('option', { value: '' }, 'No datanet: from memory'),
    datanets.datanets.sort((a, b) => a.name.localeCompare(b.name))
      .map((d) => h('option', { value: d.name }, d.held === 'none' ? `${d.name}, held by others` : d.name)));
  const prompt = h('textarea', { name: 'prompt', rows: 3, required: true, maxlength: 20000, placeholder: 'Define brisket.' });
  const tokens = h('input', { name: 'max_tokens', type: 'number', min: 1, max: 100000, placeholder: '256', inputmode: 'numeric' });
  const send = h('button', { type: 'submit', class: 'primary' }, 'Ask');
  const stop = h('button', { type: 'button', hidden: true }, 'Stop');
  const estimate = h('p', { class: 'hint', id: 'estimate', 'aria-live': 'polite' });
  const turns = h('div', { id: 'turns', 'aria-live': 'polite', 'aria-busy': 'false' });

  /** What is asked: the adapter, the fusion, and, beside them or alone, the model itself. */
  const columns = () => {
    const chosen = [];
    if (adapter.value) chosen.push({ title: adapter.value, kind: 'Adapter', model: `${model.value}:${adapter.value}` });
    if (fusion.value) chosen.push({ title: fusion.value, kind: 'Fusion', model: `${model.value}:${fusion.value}` });
    if (!chosen.length || base.input.checked) chosen.unshift({ title: model.value, kind: 'Model', model: model.value });
    return chosen;
  };
  const request = (column) => {
    const asked = { prompt: prompt.value.trim(), model: column.model };
    if (datanet.value) asked.datanet = datanet.value;
    if (tokens.value) asked.max_tokens = Number(tokens.value);
    return asked;
  };
  function showColumns() {
    base.element.hidden = !adapter.value && !fusion.value;
    quote();
  }

  let timer = null;
  let asking = new AbortController();
  function quote() {
    clearTimeout(timer);
    asking.abort();
    if (!prompt.value.trim() || !session.isOpen || !tokens.validity.valid) { fill(estimate); return; }
    timer = setTimeout(async () => {
      asking = new AbortController();
      try {
        const quotes = await Promise.all(columns().map((column) => api.post('/api/v1/quote', request(column), { signal: asking.signal })));
        fill(estimate, quoted(quotes));
      } catch (error) {
        if (error.name !== 'AbortError') fill(estimate, `No estimate: ${error.message}`);
      }
    }, quoteDelayMilliseconds);
  }
  frame.signal.addEventListener('abort', () => { clearTimeout(timer); asking.abort(); });
  model.addEventListener('change', showModel);
  for (const control of [adapter, fusion, base.input]) control.addEventListener('change', showColumns);
  for (const control of [datanet, prompt, tokens]) control.addEventListener('input', quote);

  const form = h('form', { class: 'card' },
    h('div', { class: 'fields' }, modelField, field('Adapter', adapter, { hint: 'A small addition to the model, trained for one subject.' }),
      field('Fusion', fusion, { hint: ['Several adapters as one; make them under ', h('a', { href: '#/adapters' }, 'Adapters'), '.'] }),
      field('Datanet', datanet, { hint: 'Rows found there go into the prompt; their contributors are paid.' }),
      field('Longest answer', tokens, { hint: 'In tokens' }),
      h('div', { class: 'wide' }, base.element),
      field('Question', prompt, { wide: true, hint: 'Each question is answered on its own. Ctrl or ⌘ and Enter sends it.' })),
    estimate, h('div', { class: 'actions' }, send, stop));
  prompt.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (send.disabled || !prompt.value.trim()) return;
    send.disabled = true;
    try {
      if (!await frame.needSession()) return;
      const asked = columns().map((column) => ({ ...column, request: request(column) }));
      const question = prompt.value.trim();
      prompt.value = '';
      quote();
      stop.hidden = false;
      turns.setAttribute('aria-busy', 'true');
      await turn(turns, question, asked, stop, frame);
    } finally {
      send.disabled = false;
      stop.hidden = true;
      turns.setAttribute('aria-busy', 'false');
      prompt.focus();
    }
  });

  const hasModels = models.models.length > 0;
  fill(body, h('h1', {}, 'Chat'),
    hasModels ? form : h('div', { class: 'card empty' }, h('strong', {}, 'No model yet'),
      'Import one with: ', h('code', {}, 'openledger model import DIR --name N')),
    turns);
  // Who comes from somewhere else may have chosen already.
  const wish = (control, name) => {
    const value = frame.query.get(name);
    if (value && [...control.options].some((o) => o.value === value)) control.value = value;
  };
  wish(model, 'model');
  showModel();
  wish(adapter, 'adapter');
  wish(datanet, 'datanet');
  base.input.checked = frame.query.get('compare') === '1' && adapter.value !== '';
  showColumns();
  if (hasModels) prompt.focus({ preventScroll: true });
}

/** What a question costs, before it is written. */
function price(model) {
  return model ? `${open(model.request)} OPEN a question, ${open(model.completion_token)} per token of the answer, ${open(model.prompt_token)} per token of the prompt.` : null;
}

/** Sums amounts of OPEN exactly: 18 decimals are more than a number holds. */
export function sum(texts) {
  const units = texts.map((text) => {
    const [whole, part = ''] = text.split('.');
    return BigInt(whole) * 10n ** 18n + BigInt(part.padEnd(18, '0'));
  }).reduce((a, b) => a + b, 0n);
  const digits = String(units).padStart(19, '0');
  return `${digits.slice(0, -18)}.${digits.slice(-18)}`.replace(/\.?0+$/, '');
}

function quoted(quotes) {
  const answers = quotes.length === 1 ? 'a whole answer' : `${quotes.length} whole answers`;
  const prompts = quotes.map((q) => q.prompt_tokens).reduce((a, b) => a + b, 0);
  const isCounted = quotes.every((q) => q.counted);
  return ['Estimated cost ', amount(sum(quotes.map((q) => q.estimate))), ` for ${answers}, at most `, amount(sum(quotes.map((q) => q.cost_max))),
    `: ${isCounted ? '' : 'about '}${count(prompts)} tokens of the prompt${isCounted ? '' : ', rows of the datanet not among them'}.`];
}

/** One after the other, so that each has the machine for itself and its speed means something. */
async function turn(turns, question, columns, stop, frame) {
  const cancel = new AbortController();
  const abort = () => cancel.abort();
  stop.onclick = abort;
  frame.signal.addEventListener('abort', abort);
  const views = columns.map((column) => view(column, columns.length > 1));
  const total = h('div', { class: 'meta' });
  turns.prepend(h('article', { class: 'card', 'aria-label': 'Answer' }, h('p', { class: 'question' }, question),
    h('div', { class: columns.length > 1 ? 'columns' : null }, views.map((v) => v.element)), total));
  const costs = [];
  for (const [index, column] of columns.entries()) {
    if (cancel.signal.aborted) { append(views[index].meta, [h('span', {}, 'Not asked')]); continue; }
    const cost = await answer(views[index], column.request, cancel.signal);
    if (cost) costs.push(cost);
  }
  if (costs.length > 1) append(total, [h('span', {}, 'All together ', amount(sum(costs)))]);
  frame.refreshBalance();
}

function view(column, isOneOfSeveral) {
  const text = h('div', { class: 'answer' });
  const provenance = h('div');
  const meta = h('div', { class: 'meta' });
  const title = isOneOfSeveral ? h('h2', { class: 'column-title' }, h('span', { class: 'soft small' }, column.kind), ' ', column.title) : null;
  return { text, provenance, meta, element: h('section', { class: isOneOfSeveral ? 'column' : null, 'aria-label': column.model }, title, text, meta, provenance) };
}

/** Resolves to what it cost, if anything. */
async function answer({ text, provenance, meta }, request, signal) {
  const begun = performance.now();
  let first = null;
  let cost = null;
  text.classList.add('busy');
  try {
    await api.lines('/api/v1/ask', request, (event) => {
      if (event.event === 'token') {
        first ??= performance.now();
        text.append(document.createTextNode(event.text));
      } else if (event.event === 'served_by') append(meta, [h('span', {}, event.local ? 'Answered by this peer' : ['Answered by ', idText(event.peer)])]);
      else if (event.event === 'sources') fill(provenance, sources(event.sources));
      else if (event.event === 'receipt' && event.receipt) {
        cost = event.receipt.cost;
        append(meta, [h('span', {}, 'Cost ', amount(event.receipt.cost)),
          h('a', { href: `#/receipts/${event.receipt.id}` }, 'Receipt ', h('code', {}, short(event.receipt.id)))]);
      } else if (event.event === 'done') {
        if (request.datanet && !provenance.firstChild) {
          fill(provenance, h('p', { class: 'soft small' }, `No row of ${request.datanet} fits this question: the answer is from memory.`));
        }
        const { prompt_tokens: asked, completion_tokens: answered } = event.usage;
        append(meta, [h('span', { class: 'number' }, `${count(asked)} tokens in the prompt, ${count(answered)} in the answer`),
          speed(begun, first, performance.now(), answered),
          event.finish_reason === 'length' ? h('span', {}, 'Cut at the token limit') : null]);
      }
    }, signal);
  } catch (error) {
    if (error.name === 'AbortError') append(meta, [h('span', {}, 'Stopped')]);
    else append(provenance, [fault(error)]);
  } finally {
    text.classList.remove('busy');
  }
  return cost;
}

function speed(begun, first, ended, tokens) {
  if (first === null || tokens < 2 || ended <= first) return null;
  const rate = (tokens - 1) / ((ended - first) / 1000);
  return h('span', { class: 'number' }, `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s, the first after ${((first - begun) / 1000).toFixed(2)} s`);
}

function sources(list) {
  if (!list.length) return null;
  const shown = (source) => ({
    name: [rowName(source), ' in ',
      h('a', { href: `#/datanets/${encodeURIComponent(source.datanet_name)}` }, source.datanet_name), ' by ', idText(source.contributor)],
    ppm: source.ppm, quote: source.text, detail: unpaid(source),
  });
  const paid = list.filter((source) => source.ppm > 0);
  const rest = list.filter((source) => source.ppm === 0);
  return [
    paid.length ? h('h3', {}, 'Owed to') : h('p', { class: 'soft small' }, 'No row stands out as the source of this answer.'),
    paid.length ? shares(paid.map(shown)) : null,
    rest.length ? h('details', {}, h('summary', {}, `In the prompt, and owed nothing: ${count(rest.length)}`), shares(rest.map(shown))) : null,
  ];
}
