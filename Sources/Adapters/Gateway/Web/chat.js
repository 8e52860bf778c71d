// A question, its answer as it comes, the rows it is owed to, the receipt and the cost.

import { h, fill, append, field, fault, shares, rowName, short, amount, open, count, idText } from './dom.js';
import { api, paths } from './api.js';

export async function chat(body, frame) {
  const [models, adapters, datanets] = await Promise.all(
    ['models', 'adapters', 'datanets'].map((noun) => api.get(paths.list(noun, null, 200), { signal: frame.signal })));
  const model = h('select', { name: 'model' }, models.models.map((m) => h('option', { value: m.name }, m.name)));
  const adapter = h('select', { name: 'adapter' });
  const showAdapters = () => fill(adapter, h('option', { value: '' }, 'No adapter'),
    adapters.adapters.filter((a) => a.model === model.value).map((a) => h('option', { value: a.name }, a.name)));
  const modelField = field('Model', model, { hint: ' ' });
  const showModel = () => {
    showAdapters();
    fill(modelField.querySelector('.hint'), price(models.models.find((m) => m.name === model.value)?.price));
  };
  showModel();
  model.addEventListener('change', showModel);
  const datanet = h('select', { name: 'datanet' }, h('option', { value: '' }, 'No datanet: from memory'),
    datanets.datanets.filter((d) => d.held !== 'none').sort((a, b) => a.name.localeCompare(b.name)).map((d) => h('option', { value: d.name }, d.name)));
  const prompt = h('textarea', { name: 'prompt', rows: 3, required: true, maxlength: 20000, placeholder: 'Define brisket.' });
  const send = h('button', { type: 'submit', class: 'primary' }, 'Ask');
  const stop = h('button', { type: 'button', hidden: true }, 'Stop');
  const turns = h('div', { id: 'turns', 'aria-live': 'polite', 'aria-busy': 'false' });

  const form = h('form', { class: 'card' },
    h('div', { class: 'fields' }, modelField, field('Adapter', adapter, { hint: 'A small addition to the model, trained for one subject.' }),
      field('Datanet', datanet, { hint: 'Rows found there go into the prompt; their contributors are paid.' }),
      field('Question', prompt, { wide: true, hint: 'Each question is answered on its own. Ctrl or ⌘ and Enter sends it.' })),
    h('div', { class: 'actions' }, send, stop));
  prompt.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (send.disabled || !prompt.value.trim()) return;
    send.disabled = true;
    try {
      if (!await frame.needSession()) return;
      const question = prompt.value.trim();
      const request = { prompt: question, model: adapter.value ? `${model.value}:${adapter.value}` : model.value };
      if (datanet.value) request.datanet = datanet.value;
      prompt.value = '';
      stop.hidden = false;
      turns.setAttribute('aria-busy', 'true');
      await answer(turns, question, request, stop, frame);
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
  if (hasModels) prompt.focus({ preventScroll: true });
}

/** What a question costs, before it is asked. */
function price(model) {
  return model ? `${open(model.request)} OPEN a question, ${open(model.completion_token)} per token of the answer, ${open(model.prompt_token)} per token of the prompt.` : null;
}

async function answer(turns, question, request, stop, frame) {
  const text = h('div', { class: 'answer busy' });
  const provenance = h('div');
  const meta = h('div', { class: 'meta' });
  turns.prepend(h('article', { class: 'card', 'aria-label': 'Answer' }, h('p', { class: 'question' }, question), text, provenance, meta));
  const cancel = new AbortController();
  const abort = () => cancel.abort();
  stop.onclick = abort;
  frame.signal.addEventListener('abort', abort);
  try {
    await api.lines('/api/v1/ask', request, (event) => {
      if (event.event === 'token') text.append(document.createTextNode(event.text));
      else if (event.event === 'served_by') append(meta, [h('span', {}, event.local ? 'Answered by this peer' : ['Answered by ', idText(event.peer)])]);
      else if (event.event === 'sources') fill(provenance, sources(event.sources));
      else if (event.event === 'receipt' && event.receipt) {
        append(meta, [h('span', {}, 'Cost ', amount(event.receipt.cost)),
          h('a', { href: `#/receipts/${event.receipt.id}` }, 'Receipt ', h('code', {}, short(event.receipt.id)))]);
      } else if (event.event === 'done') {
        if (request.datanet && !provenance.firstChild) {
          fill(provenance, h('p', { class: 'soft small' }, `No row of ${request.datanet} fits this question: the answer is from memory.`));
        }
        append(meta, [h('span', { class: 'number' }, `${count(event.usage.prompt_tokens)} tokens in the prompt, ${count(event.usage.completion_tokens)} in the answer`),
          event.finish_reason === 'length' ? h('span', {}, 'Cut at the token limit') : null]);
      }
    }, cancel.signal);
  } catch (error) {
    if (error.name === 'AbortError') append(meta, [h('span', {}, 'Stopped')]);
    else append(provenance, [fault(error)]);
  } finally {
    text.classList.remove('busy');
    frame.refreshBalance();
  }
}

function sources(list) {
  if (!list.length) return null;
  return [h('h3', {}, 'Owed to'), shares(list.map((source) => ({
    name: [rowName(source), ' in ',
      h('a', { href: `#/datanets/${encodeURIComponent(source.datanet_name)}` }, source.datanet_name), ' by ', idText(source.contributor)],
    ppm: source.ppm, quote: source.text,
  })))];
}
