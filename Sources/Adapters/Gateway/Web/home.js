// One sentence on the state, the next action, the balance.

import { h, refresh, facts, amount, open, bytes, count, countOf, duration, idText } from './dom.js';
import { api } from './api.js';

const actions = {
  ask: ['Ask a question', '#/chat'], faucet: ['Get OPEN', '#/chain'], doctor: ['See what is wrong', '#/network'],
  join: ['See the network', '#/network'],
};
const kinds = { ready: 'good', halted: 'bad', starting: 'warn', waiting: 'warn', syncing: 'warn', draining: 'warn' };

export async function home(body, frame) {
  const update = async () => {
    const status = await api.get('/api/v1/status', { signal: frame.signal });
    refresh(body, view(status));
  };
  await update();
  frame.every(5000, () => update().catch(() => {}));
}

function view(status) {
  const { balance, network, peers, reachability, serving, storage } = status;
  const action = actions[status.next.action];
  return [
    h('h1', { id: 'state-sentence', class: 'state' },
      h('span', { class: `dot ${kinds[status.state] ?? ''}`, title: status.state, 'aria-hidden': 'true' }), h('span', {}, status.sentence)),
    h('section', { class: 'card next', 'aria-label': 'Next step' },
      h('p', {}, status.next.sentence), action ? h('a', { class: 'button primary', href: action[1] }, action[0]) : null),
    h('div', { class: 'grid' },
      h('section', { class: 'card', 'aria-label': 'Balance' },
        h('h2', {}, 'Balance'),
        h('p', { class: 'money', title: `${balance.free} OPEN` }, open(balance.free, 4), ' ', h('small', {}, 'OPEN free')),
        facts(['Pending', [amount(balance.pending), ' ', h('a', { href: '#/earnings' }, 'Earnings')]], ['Locked', amount(balance.locked)], ['Staked', amount(balance.staked)])),
      h('section', { class: 'card', 'aria-label': 'Ledger' },
        h('h2', {}, 'Ledger'),
        facts(
          ['Network', network.local ? [network.name === 'local' ? 'local' : [network.name, ', local'], h('div', { class: 'soft small' }, 'Never merges with another')] : network.name],
          ['Height', h('a', { href: `#/chain/${network.height}` }, count(network.height))],
          ['Synced', network.synced ? 'yes' : 'not yet'],
          ['Genesis', idText(network.genesis)], ['Account', idText(status.account)])),
      h('section', { class: 'card', 'aria-label': 'Peer' },
        h('h2', {}, 'Peer'),
        facts(
          ['Connections', peers.known ? `${count(peers.connected)} of ${countOf(peers.known, 'known peer')}` : 'none, and no peer is known'],
          ['Reachable', [reachability.state, reachability.port ? `, port ${reachability.port}` : '']],
          ['Models', serving.models.length ? serving.models.join(', ') : 'none yet'],
          ['Answering', `${count(serving.running)} now, ${count(serving.queued)} waiting`],
          ['Disk', `${bytes(storage.used_bytes)} used, ${bytes(storage.free_bytes)} free`],
          status.keeping?.lent_bytes ? ['Lends', `${bytes(status.keeping.lent_bytes)} to others' datanets, ${bytes(status.keeping.used_bytes)} used`] : null,
          ['Up for', duration(status.uptime_s)], ['Version', `${status.version}, ${status.role} peer`]))),
  ];
}
