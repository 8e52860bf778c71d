// The model factory: which runs there are, and a form for a new one that says before the start what is wrong, what it takes and
// which command does the same.

import { h, fill, refresh, field, facts, table, pill, count, countOf, bytes, during, empty, fault, check } from './dom.js';
import { api, paths, session } from './api.js';
import { took, states } from './run.js';

const estimateDelayMilliseconds = 500;
const evaluationsWanted = 10;

export async function factory(body, frame) {
  const list = h('div');
  const show = async () => {
    const { runs } = await api.get('/api/v1/trainings', { signal: frame.signal });
    refresh(list, runs.length ? runTable(runs) : empty('No runs yet', 'Train the first adapter below: choose a datanet and a name.'));
  };
  const [models, datanets] = await Promise.all([
    ...['models', 'datanets'].map((noun) => api.get(paths.list(noun, null, 200), { signal: frame.signal })), show()]);
  const held = models.models.filter((m) => m.local);
  fill(body, h('h1', {}, 'Model factory'), h('section', { class: 'card', 'aria-label': 'Runs' }, list),
    held.length ? creation(held, datanets.datanets, frame)
      : h('section', { class: 'card' }, empty('No model is held here', 'Fetch or import one first: openledger model pull NAME')));
  frame.every(3000, () => show().catch(() => {}));
}

function runTable(runs) {
  return table('Runs', [
    ['Adapter', (r) => [h('strong', {}, h('a', { href: `#/factory/${r.run}` }, r.name)), h('div', { class: 'soft small' }, `${r.model}${r.datanet_name ? `, on ${r.datanet_name}` : ''}`)], 'short'],
    ['State', (r) => [pill(...(states[r.state] ?? [r.state])), r.reason ? h('div', { class: 'small' }, r.reason) : null]],
    ['Step', (r) => `${count(r.step)} of ${count(r.steps)}`, 'number'],
    ['Loss', (r) => (typeof r.loss === 'number' ? r.loss.toFixed(3) : '–'), 'number'],
    ['Held out', (r) => (typeof r.eval_loss === 'number' ? r.eval_loss.toFixed(3) : '–'), 'number'],
    ['Time', (r) => (r.state === 'running' && typeof r.remaining_s === 'number' ? `${took(r.remaining_s)} left` : r.elapsed_s ? took(r.elapsed_s) : '–')],
  ], [...runs].reverse());
}

// What is sent, by the name the interface gives it: its flag, and what it is when it is left out.
const flags = {
  model: ['--model'], datanet: ['--datanet'], name: ['--name'], rank: ['--rank'], epochs: ['--epochs'], lr: ['--lr'], batch: ['--batch'],
  eval_nth: ['--eval-nth'], eval_every: ['--eval-every'], precision: ['--precision'], alpha: ['--alpha'], schedule: ['--schedule'], warmup: ['--warmup'],
  weight_decay: ['--weight-decay'], clip: ['--clip'], seed: ['--seed'], rslora: ['--rslora', true], shuffle: ['--no-shuffle', false], publish: ['--no-publish', false],
};
const quoted = (text) => (/^[\w.\/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The command that asks for the same, option by option. */
export function command(wanted) {
  const parts = ['openledger adapter train'];
  for (const [key, [flag, bare]] of Object.entries(flags)) {
    if (wanted[key] === undefined) continue;
    if (bare === undefined) parts.push(`${flag} ${quoted(String(wanted[key]))}`);
    else if (wanted[key] === bare) parts.push(flag);
  }
  return parts;
}

function creation(models, datanets, frame) {
  const choice = (name, options) => h('select', { name }, options.map(([value, text]) => h('option', { value }, text)));
  const number = (name, attributes) => h('input', { name, type: 'number', inputmode: 'decimal', ...attributes });
  const usable = datanets.filter((d) => d.access !== 'private' || d.held === 'full').sort((a, b) => a.name.localeCompare(b.name));
  const controls = {
    model: choice('model', models.map((m) => [m.name, m.name])),
    datanet: choice('datanet', [['', usable.length ? 'Choose one' : 'There is none yet'], ...usable.map((d) => [d.name, d.name])]),
    name: h('input', { name: 'name', required: true, maxlength: 64, autocomplete: 'off', spellcheck: 'false', pattern: '[^:@\\/ ]+', title: 'Without spaces, ":", "@" and "/"' }),
    rank: number('rank', { min: 1, max: 256, value: 8, required: true }),
    epochs: number('epochs', { min: 0.001, max: 10000, step: 'any', value: 1, required: true }),
    lr: number('lr', { min: 0, max: 100, step: 'any', value: 0.001, required: true }),
    batch: number('batch', { min: 1, max: 4096, value: 8, required: true }),
    eval_nth: choice('eval_nth', [['10', 'Every 10th row'], ['5', 'Every 5th row'], ['20', 'Every 20th row'], ['0', 'None: all rows are trained on']]),
    precision: choice('precision', [['', 'f32: exact'], ['bf16', 'bf16: half the memory'], ['int8', 'int8: a quarter'], ['int4', 'int4: an eighth']]),
    alpha: number('alpha', { step: 'any', min: -1000000, max: 1000000, placeholder: 'Twice the rank' }),
    schedule: choice('schedule', [['', 'Constant'], ['cosine', 'Cosine: falls to a twentieth']]),
    warmup: number('warmup', { min: 0, max: 1000000, placeholder: '0' }),
    weight_decay: number('weight_decay', { min: 0, max: 100, step: 'any', placeholder: '0.01' }),
    clip: number('clip', { min: 0, step: 'any', placeholder: 'None' }),
    seed: number('seed', { min: 0, placeholder: '0' }),
    eval_every: number('eval_every', { min: 0, max: 1000000, placeholder: 'Ten times in a run' }),
  };
  const rslora = check('rslora', 'Scale by alpha over the root of the rank (rsLoRA)');
  const shuffle = check('shuffle', 'Shuffle the rows in each pass');
  shuffle.input.checked = true;
  const publish = check('publish', 'Publish it as soon as it is trained; otherwise it stays this peer’s own until you do');
  const complaints = {};
  const entry = (key, label, hint) => {
    const element = field(label, controls[key], { hint });
    complaints[key] = h('p', { class: 'complaint', id: `complaint-${key}`, hidden: true });
    controls[key].setAttribute('aria-describedby', [controls[key].getAttribute('aria-describedby'), complaints[key].id].filter(Boolean).join(' '));
    element.append(complaints[key]);
    return element;
  };
  const access = h('div', { class: 'wide', id: 'data-access', 'aria-live': 'polite' });
  const estimate = h('div', { id: 'estimate', 'aria-live': 'polite' });
  const line = h('pre', { id: 'command', tabindex: 0, 'aria-label': 'The command that does the same' });
  const copied = h('span', { class: 'soft small', 'aria-live': 'polite' });
  const copy = h('button', { type: 'button', class: 'quiet', onclick: async () => {
    try {
      await navigator.clipboard.writeText(line.textContent);
      fill(copied, 'Copied.');
    } catch {
      getSelection().selectAllChildren(line);
      fill(copied, 'Selected: copy it with Ctrl or ⌘ and C.');
    }
  } }, 'Copy');
  const start = h('button', { type: 'submit', class: 'primary' }, 'Start training');
  const place = h('div', { 'aria-live': 'polite' });
  const form = h('form', {},
    h('div', { class: 'fields' },
      entry('model', 'Model', 'The base, which stays as it is.'), entry('datanet', 'Datanet', 'What it learns from.'), access,
      entry('name', 'Adapter name', 'Asked for as MODEL:NAME.'), entry('rank', 'Rank', 'How much it can learn; 4 to 32 is common.'),
      entry('epochs', 'Passes over the rows'), entry('lr', 'Learning rate'), entry('batch', 'Rows in a step'),
      entry('eval_nth', 'Rows to judge it by', 'Held out of the training.')),
    h('details', { class: 'more' }, h('summary', {}, 'More settings'), h('div', { class: 'fields' },
      entry('precision', 'Precision of the base'), entry('alpha', 'Alpha'), entry('schedule', 'Learning rate over time'), entry('warmup', 'Warm-up steps'),
      entry('weight_decay', 'Weight decay'), entry('clip', 'Greatest gradient norm'), entry('seed', 'Seed'), entry('eval_every', 'Steps between evaluations'),
      h('div', { class: 'wide' }, rslora.element), h('div', { class: 'wide' }, shuffle.element), h('div', { class: 'wide' }, publish.element))),
    h('h3', {}, 'Estimate'), estimate,
    h('h3', {}, 'The same as a command'), line, h('div', { class: 'row-actions command-actions' }, copy, copied),
    place, h('div', { class: 'actions' }, start));

  let steps = null;
  // Lines end between options, and what is copied is one line.
  const showCommand = (body) => fill(line, command({ ...body, name: body.name || 'NAME', datanet: body.datanet || 'DATANET' }).map((option, place) => [place ? ' ' : '', h('span', { class: 'option' }, option)]));
  /** The request as it would be sent. */
  function wanted() {
    const body = { model: controls.model.value, name: controls.name.value.trim() };
    if (controls.datanet.value) body.datanet = controls.datanet.value;
    for (const key of ['rank', 'epochs', 'lr', 'batch', 'alpha', 'warmup', 'weight_decay', 'clip', 'seed', 'eval_every']) {
      if (controls[key].value !== '') body[key] = Number(controls[key].value);
    }
    for (const key of ['precision', 'schedule']) if (controls[key].value) body[key] = controls[key].value;
    if (controls.eval_nth.value !== '0') body.eval_nth = Number(controls.eval_nth.value);
    if (body.eval_nth && body.eval_every === undefined && steps > evaluationsWanted) body.eval_every = Math.ceil(steps / evaluationsWanted);
    if (rslora.input.checked) body.rslora = true;
    if (!shuffle.input.checked) body.shuffle = false;
    if (!publish.input.checked) body.publish = false;
    return body;
  }

  function showAccess() {
    const chosen = datanets.find((d) => d.name === controls.datanet.value);
    access.hidden = !chosen && usable.length > 0;
    if (!chosen) {
      fill(access, h('p', { class: 'hint' }, usable.length ? null : [h('a', { href: '#/datanets' }, 'Create a datanet'), ' and put rows into it first.']));
      return;
    }
    const where = { full: ['held here', 'good'], partial: ['partly here', 'warn'], none: ['not here', 'warn'] }[chosen.held] ?? [chosen.held, ''];
    fill(access, h('p', { class: 'access' }, pill(...where), h('span', {}, countOf(chosen.rows ?? 0, 'row')), chosen.license ? h('span', {}, `Licence ${chosen.license}`) : null,
      chosen.contributors.length ? h('span', {}, countOf(chosen.contributors.length, 'contributor')) : null,
      h('a', { href: `#/datanets/${encodeURIComponent(chosen.name)}` }, 'Look at it')));
    if (chosen.held === 'none') access.append(fetching(chosen));
  }

  function fetching(chosen) {
    const progress = h('progress', { hidden: true, 'aria-label': 'Progress' });
    const failure = h('div', { 'aria-live': 'polite' });
    const pull = h('button', { type: 'button', onclick: async () => {
      if (!await frame.needSession()) return;
      progress.hidden = false;
      const done = await during(pull, failure, () => api.lines(paths.one('datanets', chosen.name, '/pull'), {}, (event) => {
        if (event.event === 'progress' && event.total_bytes > 0) { progress.max = event.total_bytes; progress.value = event.done_bytes; }
      }, frame.signal));
      progress.hidden = true;
      if (done) { Object.assign(chosen, done.datanet); showAccess(); update(); }
    } }, 'Fetch it from the network');
    return h('div', {}, h('div', { class: 'row-actions' }, pull), progress, failure);
  }

  let timer = null;
  let asking = new AbortController();
  frame.signal.addEventListener('abort', () => { clearTimeout(timer); asking.abort(); });

  function complain(list) {
    for (const [key, element] of Object.entries(complaints)) {
      const said = list.filter((one) => one.param === key).map((one) => one.message);
      element.hidden = !said.length;
      element.classList.toggle('note', list.every((one) => one.param !== key || one.isNote));
      fill(element, said.join(' '));
      controls[key].setAttribute('aria-invalid', String(list.some((one) => one.param === key && !one.isNote)));
    }
  }

  function update() {
    clearTimeout(timer);
    asking.abort();
    start.disabled = false;
    showCommand(wanted());
    if (!controls.datanet.value || !controls.name.value.trim() || !form.checkValidity()) {
      complain([]);
      fill(estimate, h('p', { class: 'soft' }, 'Choose a datanet and a name: then memory, time and price stand here.'));
      return;
    }
    if (!session.isOpen) {
      fill(estimate, h('p', { class: 'soft' }, 'Unlock the page, and memory, time and price stand here.'));
      return;
    }
    timer = setTimeout(ask, estimateDelayMilliseconds);
  }

  async function ask() {
    asking = new AbortController();
    const body = wanted();
    try {
      const answer = await api.post('/api/v1/trainings/estimate', body, { signal: asking.signal });
      steps = answer.steps;
      const settled = wanted();
      showCommand(settled);
      // How often it is judged follows from the steps, which are known only now.
      if (settled.eval_every !== body.eval_every) { timer = setTimeout(ask, 0); return; }
      complain([...answer.faults, ...answer.warnings.map((one) => ({ ...one, isNote: true }))]);
      fill(estimate, estimated(answer, Object.keys(complaints)));
      start.disabled = !answer.valid;
    } catch (error) {
      if (error.name === 'AbortError') return;
      complain(error.param ? [{ param: error.param, message: error.message }] : []);
      fill(estimate, fault(error));
    }
  }

  let proposed = '';
  controls.datanet.addEventListener('change', () => {
    if (controls.name.value === proposed && controls.datanet.value) {
      proposed = `${controls.datanet.value.replaceAll(/[:@/\s]/g, '-')}-adapter`.slice(0, 64);
      controls.name.value = proposed;
    }
    showAccess();
  });
  for (const kind of ['input', 'change']) {
    form.addEventListener(kind, () => { if (controls.eval_every.value === '') steps = null; fill(copied); update(); });
  }
  session.onChange(update, frame.signal);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!controls.datanet.value) {
      complain([{ param: 'datanet', message: 'Choose what it learns from.' }]);
      controls.datanet.focus();
      return;
    }
    if (!await frame.needSession()) return;
    await during(start, place, async () => {
      const run = await api.post('/api/v1/trainings', { ...wanted(), follow: false });
      location.hash = `#/factory/${run.run}`;
    });
  });
  showAccess();
  update();
  return h('section', { class: 'card', id: 'new-run' }, h('h2', {}, 'Train an adapter'), form);
}

/** What an estimate says; faults of a field stand beside it, the others here. */
function estimated(answer, fields) {
  const rest = [...answer.faults, ...answer.warnings].filter((one) => !fields.includes(one.param));
  return [
    answer.row_faults.length ? h('div', { class: 'fault', role: 'alert' }, `${countOf(answer.row_faults_total, 'row')} cannot be trained on.`) : null,
    answer.row_faults.length ? table('Faults', [['Line', (f) => count(f.line), 'number'], ['Field', (f) => f.field ?? '–'], ['Fault', (f) => f.message]], answer.row_faults) : null,
    rest.map((one) => h('p', { class: answer.faults.includes(one) ? 'fault' : 'notice' }, one.message)),
    typeof answer.memory_bytes === 'number' ? facts(
      ['Data', `${countOf(answer.rows, 'row')} of ${count(answer.row_tokens)} tokens${answer.eval_rows ? `, and ${count(answer.eval_rows)} held out` : ''}`],
      ['Steps', count(answer.steps)], ['Trained', `${count(answer.parameters)} parameters`],
      ['Memory', [bytes(answer.memory_bytes), typeof answer.memory_left_bytes === 'number' ? `, of ${bytes(answer.memory_left_bytes)} that are free` : '']],
      ['Time', [took(answer.seconds), h('span', { class: 'soft' }, answer.measured ? ', as it was measured here' : ', a guess: this model was not timed here yet')]],
      ['Price', `${answer.price} OPEN: this peer computes it itself`]) : null,
  ];
}
