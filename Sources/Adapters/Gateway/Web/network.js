// Whom this peer is connected to, whether others reach it, and what the doctor says.

import { h, fill, refresh, table, pill, field, during, checks, empty, bytes, duration, idText, countOf } from './dom.js';
import { api, paths } from './api.js';

const kinds = { reachable: 'good', relayed: 'warn', blocked: 'bad' };

export async function network(body, frame) {
  const reach = h('section', { class: 'card', 'aria-label': 'Reachability' });
  const list = h('div');
  const peerFault = h('div', { 'aria-live': 'polite' });
  const update = async () => {
    const [status, peers] = await Promise.all([
      api.get('/api/v1/status', { signal: frame.signal }), api.get('/api/v1/peers', { signal: frame.signal })]);
    refresh(reach, h('h2', {}, 'Reachability'),
      h('p', {}, pill(status.reachability.state, kinds[status.reachability.state] ?? ''),
        status.reachability.port ? ` on port ${status.reachability.port}` : ''),
      status.reachability.state === 'unknown'
        ? h('p', { class: 'soft' }, 'Nobody has come in from outside yet, so whether others can reach this peer is not known.') : null,
      status.reachability.remedy ? h('p', { class: 'notice' }, status.reachability.remedy) : null);
    refresh(list, peers.peers.length ? peerTable(peers.peers, peerFault, frame, update)
      : empty('No connections', `${peers.known ? `${countOf(peers.known, 'peer')} known, none connected.` : 'No peer is known yet.'} Connect to one by its address below.`));
  };
  const address = h('input', { name: 'address', required: true, maxlength: 512, spellcheck: 'false', autocomplete: 'off', placeholder: '/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…' });
  const connect = h('button', { type: 'submit' }, 'Connect');
  const connectFault = h('div', { 'aria-live': 'polite' });
  const form = h('form', { class: 'apart' }, field('Address of a peer', address), connectFault, h('div', { class: 'actions' }, connect));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!await frame.needSession()) return;
    await during(connect, connectFault, async () => {
      await api.post('/api/v1/peers', { address: address.value.trim() });
      address.value = '';
      await update();
    });
  });
  const doctor = h('div', { 'aria-live': 'polite' });
  const examine = h('button', { type: 'button', onclick: () => during(examine, doctor, async () => {
    const report = await api.get('/api/v1/doctor');
    fill(doctor, checks(report.checks));
  }) }, 'Examine again');
  fill(body, h('h1', {}, 'Network'), reach,
    h('section', { class: 'card', 'aria-label': 'Connections' }, h('h2', {}, 'Connections'), list, peerFault, form),
    h('section', { class: 'card', 'aria-label': 'Doctor' }, h('h2', {}, 'Doctor'), doctor, h('div', { class: 'actions' }, examine)));
  await update();
  frame.every(5000, () => update().catch(() => {}));
  examine.click();
}

function peerTable(peers, place, frame, update) {
  return table('Connections', [
    ['Peer', (p) => idText(p.peer)], ['Address', (p) => h('span', { class: 'mono' }, p.address)],
    ['Path', (p) => pill(p.path, p.path === 'direct' ? 'good' : 'warn')],
    ['Latency', (p) => (typeof p.latency_ms === 'number' ? `${p.latency_ms.toFixed(1)} ms` : '–'), 'number'],
    ['Received', (p) => bytes(p.bytes_in), 'number'], ['Sent', (p) => bytes(p.bytes_out), 'number'],
    ['Since', (p) => duration(p.connected_s), 'number'],
    ['Serves', (p) => (p.serves?.length ? p.serves.join(', ') : 'nothing')],
    ['', (p) => {
      const button = h('button', { type: 'button', class: 'link', 'aria-label': `Disconnect ${p.peer}`, onclick: async () => {
        if (!await frame.needSession()) return;
        await during(button, place, async () => { await api.delete(paths.one('peers', p.peer)); await update(); });
      } }, 'Disconnect');
      return button;
    }],
  ], peers);
}
