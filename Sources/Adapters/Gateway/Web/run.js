// One training run: where it stands, its losses as they come, what was foretold and what it took; when it is done, what can
// be done with the adapter. All of it is read from the peer: a page that is loaded again shows the same.

import { h, fill, refresh, facts, table, pill, count, bytes, during, bars, fault } from './dom.js';
import { api, paths } from './api.js';
import { Series, chart } from './chart.js';

export const states = { waiting: ['waiting', ''], running: ['training', 'warn'], paused: ['paused', ''], done: ['done', 'good'], failed: ['failed', 'bad'], cancelled: ['cancelled', ''] };
const lastValues = 12;

/** Seconds as people say them. */
export function took(seconds) {
  if (typeof seconds !== 'number') return '–';
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
const loss = (value) => (typeof value === 'number' ? value.toFixed(4) : '–');

export async function run(body, frame, id) {
  let state = await api.get(paths.one('trainings', id), { signal: frame.signal });
  const trained = new Series('training', 'trained');
  const judged = new Series('held-out', 'judged');
  const latest = [];
  const title = h('h1');
  const standing = h('div', { id: 'run-state' });
  const losses = h('div', { class: 'chart-place', id: 'loss-chart' });
  const values = h('div');
  const figures = h('section', { class: 'card', 'aria-label': 'Foretold and measured' });
  const after = h('section', { class: 'card', 'aria-label': 'The adapter', hidden: true });
  const place = h('div', { 'aria-live': 'polite' });
  const failure = h('div', { 'aria-live': 'polite' });

  const act = (verb) => async (event) => {
    if (!await frame.needSession()) return;
    await during(event.currentTarget, place, async () => {
      state = await api.post(paths.one('trainings', id, `/${verb}`));
      show();
      if (verb === 'resume') listen();
    });
  };
  const controls = {
    pause: h('button', { type: 'button', onclick: act('pause') }, 'Pause'),
    resume: h('button', { type: 'button', class: 'primary', onclick: act('resume') }, 'Go on'),
    cancel: h('button', { type: 'button', onclick: act('cancel') }, 'Cancel'),
  };
  const actions = h('div', { class: 'actions' }, Object.values(controls));

  const describe = () => {
    const first = trained.all[0];
    return [trained.last ? `Training loss ${loss(trained.last.y)} at step ${trained.last.x}${first ? `, from ${loss(first[1])}` : ''}.` : 'No step is done yet.',
      judged.last ? `Held-out loss ${loss(judged.last.y)} at step ${judged.last.x}.` : ''].join(' ');
  };
  const draw = chart(losses, () => ({ title: `Loss of ${state.name} by step`, description: describe(), xTitle: 'Step', yTitle: 'Loss', xMax: state.steps, series: [trained, judged] }), frame.signal);

  function show() {
    const isOpen = ['waiting', 'running', 'paused'].includes(state.state);
    fill(title, state.name, ' ', pill(...(states[state.state] ?? [state.state])));
    controls.pause.hidden = !['waiting', 'running'].includes(state.state);
    controls.resume.hidden = state.state !== 'paused';
    controls.cancel.hidden = !isOpen;
    const left = state.state === 'running' && typeof state.remaining_s === 'number' ? `, about ${took(state.remaining_s)} left` : '';
    refresh(standing,
      h('p', {}, `Step ${count(state.step)} of ${count(state.steps)}${left}.`, state.state === 'waiting' ? ' It waits for another run to end.' : ''),
      h('progress', { max: state.steps, value: state.step, 'aria-label': 'Steps done' }),
      state.reason ? h('p', { class: state.state === 'failed' ? 'fault' : 'notice' }, state.reason) : null,
      facts(['Model', `${state.model}, ${state.precision}`],
        state.datanet_name ? ['Datanet', h('a', { href: `#/datanets/${encodeURIComponent(state.datanet_name)}` }, state.datanet_name)] : null,
        ['Loss', loss(state.loss)], ['Computed for', took(state.elapsed_s)]));
    refresh(figures, h('h2', {}, 'Foretold and measured'), comparison(state));
    after.hidden = state.state !== 'done';
    if (state.state === 'done') showAdapter();
    draw();
  }

  function showValues() {
    refresh(values, table('Losses', [
      ['Step', (v) => count(v.step), 'number'], ['Training loss', (v) => loss(v.loss), 'number'], ['Held-out loss', (v) => loss(v.eval_loss), 'number'],
      ['Tokens/s', (v) => count(v.tokens_per_second), 'number']], [...latest].reverse()));
  }

  let shownAdapter = null;
  function showAdapter() {
    const key = `${state.adapter} ${state.published}`;
    if (shownAdapter === key) return;
    shownAdapter = key;
    const compare = new URLSearchParams({ model: state.model, adapter: state.name, compare: '1' });
    if (state.datanet_name) compare.set('datanet', state.datanet_name);
    const change = (verb) => async (event) => {
      if (!await frame.needSession()) return;
      await during(event.currentTarget, place, async () => {
        if (verb === 'publish') await api.post(paths.one('adapters', state.adapter, '/publish'));
        else await api.delete(paths.one('adapters', state.adapter));
        state = await api.get(paths.one('trainings', id));
        show();
      });
    };
    const removal = h('div', { class: 'row-actions', hidden: true }, h('button', { type: 'button', onclick: change('remove') }, 'Remove it for good'),
      h('button', { type: 'button', onclick: () => { removal.hidden = true; } }, 'Keep it'));
    fill(after, h('h2', {}, 'The adapter'), state.published === null
      ? h('p', { class: 'soft' }, 'It is not held here any more.')
      : [h('p', {}, state.published
        ? ['Published: whoever is on the network can ask for ', h('code', {}, `${state.model}:${state.name}`), ' and pays for it.']
        : ['It is this peer’s own so far: nobody else is told of it or answered with it. Publish it, and whoever asks for ', h('code', {}, `${state.model}:${state.name}`), ' pays for it.']),
      h('div', { class: 'actions' }, h('a', { class: 'button primary', href: `#/chat?${compare}` }, 'Compare'),
        state.published ? null : h('button', { type: 'button', onclick: change('publish') }, 'Publish'),
        h('button', { type: 'button', onclick: () => { removal.hidden = false; } }, 'Remove')), removal]);
  }

  let isListening = false;
  /** Follows the run's events from the first on, through lost connections, until it is over or paused. */
  async function listen() {
    if (isListening) return;
    isListening = true;
    trained.clear();
    judged.clear();
    latest.length = 0;
    fill(failure);
    try {
      await api.follow(paths.one('trainings', id, '/events'), (event) => {
        if (event.event === 'start' && typeof event.base_eval_loss === 'number') judged.add(0, event.base_eval_loss);
        else if (event.event === 'step') {
          trained.add(event.step, event.loss);
          Object.assign(state, { step: event.step, loss: event.loss, elapsed_s: event.elapsed_s ?? state.elapsed_s });
          latest.push(event);
          if (latest.length > lastValues) latest.shift();
        } else if (event.event === 'evaluation') {
          judged.add(event.step, event.eval_loss);
          state.eval_loss = event.eval_loss;
          const same = latest.find((one) => one.step === event.step);
          if (same) same.eval_loss = event.eval_loss;
        }
        draw();
        return event.event === 'done';
      }, frame.signal);
    } catch (error) {
      if (error.name !== 'AbortError' && error.code !== 'training_failed') fill(failure, fault(error));
    }
    isListening = false;
    await update().catch(() => {});
  }

  const update = async () => {
    state = await api.get(paths.one('trainings', id), { signal: frame.signal });
    show();
    showValues();
  };
  fill(body, h('a', { class: 'crumb', href: '#/factory' }, '← Model factory'), title, h('section', { class: 'card', 'aria-label': 'State' }, standing, place, actions),
    h('section', { class: 'card', 'aria-label': 'Losses' }, h('h2', {}, 'Loss'), legend(), losses, failure,
      h('details', { class: 'more' }, h('summary', {}, 'The last values as a table'), values)), after, figures,
    h('section', { class: 'card', 'aria-label': 'Settings' }, h('details', {}, h('summary', {}, 'Settings'),
      facts(...Object.entries(state.settings).map(([name, value]) => [name.replaceAll('_', ' '), value])))));
  show();
  showValues();
  listen();
  frame.every(1000, () => { if (['waiting', 'running'].includes(state.state)) update().catch(() => {}); });
}

const legend = () => h('p', { class: 'legend' },
  h('span', {}, h('i', { class: 'key trained', 'aria-hidden': 'true' }), 'Training'), h('span', {}, h('i', { class: 'key judged', 'aria-hidden': 'true' }), 'Held out'));

/** What was said before the start beside what was measured, and what the adapter is worth. */
function comparison(state) {
  const { predicted, actual } = state;
  const pair = (name, foretold, measured, text) => {
    const most = Math.max(foretold ?? 0, measured ?? 0, 1e-9);
    return [typeof foretold === 'number' ? { name: `${name}, foretold`, text: text(foretold), share: foretold / most } : null,
      typeof measured === 'number' ? { name: `${name}, measured`, text: text(measured), share: measured / most } : null].filter(Boolean);
  };
  const rows = [...pair('Memory', predicted?.memory_bytes, actual?.memory_bytes, bytes), ...pair('Time', predicted?.seconds, actual?.seconds, took)];
  const scores = [typeof state.base_eval_loss === 'number' ? ['Base', state.base_eval_loss] : null, typeof state.eval_loss === 'number' ? ['Adapter', state.eval_loss] : null].filter(Boolean);
  const worst = Math.max(...scores.map(([, value]) => value), 1e-9);
  return [
    rows.length ? bars(rows) : h('p', { class: 'soft' }, 'Nothing is foretold before its turn comes.'),
    predicted && !actual ? h('p', { class: 'hint' }, `Measured when it is done.${predicted.measured ? '' : ' The time is a guess: this model was not timed here yet.'}`) : null,
    scores.length ? [h('h3', {}, 'Held-out loss: lower is better'), bars(scores.map(([name, value]) => ({
      name, text: `${loss(value)}, perplexity ${Math.exp(value).toFixed(value > 6 ? 0 : 2)}`, share: value / worst })))] : null,
  ];
}
