// The page's frame: session, balance, and which page the address names.

import { h, fill, fault, open } from './dom.js';
import { api, reach, session } from './api.js';
import { home } from './home.js';
import { chat } from './chat.js';
import { factory } from './factory.js';
import { run } from './run.js';
import { adapters } from './adapters.js';
import { earnings } from './earnings.js';
import { receipts, receipt } from './receipts.js';
import { network } from './network.js';
import { datanets, datanet } from './datanets.js';
import { chain, batch } from './chain.js';

const routes = [
  [/^\/$/, 'Home', home], [/^\/chat$/, 'Chat', chat], [/^\/adapters$/, 'Adapters', adapters],
  [/^\/factory$/, 'Model factory', factory], [/^\/factory\/([0-9a-f]+)$/, 'Training run', run], [/^\/earnings$/, 'Earnings', earnings],
  [/^\/receipts$/, 'Receipts', receipts],
  [/^\/receipts\/(.+)$/, 'Receipt', receipt], [/^\/network$/, 'Network', network],
  [/^\/datanets$/, 'Datanets', datanets], [/^\/datanets\/(.+)$/, 'Datanet', datanet],
  [/^\/chain$/, 'Chain', chain], [/^\/chain\/(\d+)$/, 'Batch', batch],
];

const main = document.getElementById('main');
const sessionButton = document.getElementById('session');
const unlockDialog = document.getElementById('unlock');
const unlockSecret = document.getElementById('unlock-secret');
const unlockFault = document.getElementById('unlock-fault');
const lost = document.getElementById('lost');
let leave = new AbortController();
let hasFailed = false;

/** What a page is given: a signal that ends when it is left, and the frame's services. */
const frame = (signal, query) => ({
  signal,
  /** What the address says behind its "?". */
  query,
  refreshBalance,
  /** Resolves to whether the page may spend and change; asks for the secret if not. */
  needSession: async () => session.isOpen || askForSecret(),
  every(milliseconds, action) {
    const timer = setInterval(() => { if (!document.hidden) action(); }, milliseconds);
    signal.addEventListener('abort', () => clearInterval(timer));
  },
});

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  hasFailed = false;
  const [path, query] = (location.hash.replace(/^#/, '') || '/').split('?', 2);
  const known = routes.map(([form, title, page]) => [form.exec(path), title, page]).find(([match]) => match);
  for (const link of document.querySelectorAll('.top nav a')) {
    const target = link.getAttribute('href').slice(1);
    const isHere = target === '/' ? path === '/' : path.startsWith(target);
    if (isHere) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
    if (isHere) link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
  if (!known) {
    document.title = 'No such page · openledger';
    fill(main, h('h1', {}, 'There is no such page'), h('p', {}, h('a', { href: '#/' }, 'Go to Home')));
    return;
  }
  const [match, title, page] = known;
  document.title = `${title} · openledger`;
  const body = h('div');
  fill(main, body);
  window.scrollTo(0, 0);
  try {
    await page(body, frame(signal, new URLSearchParams(query ?? '')), ...match.slice(1).map(decodeURIComponent));
  } catch (error) {
    if (signal.aborted || error.name === 'AbortError') return;
    hasFailed = true;
    fill(body, h('h1', {}, title), fault(error), h('button', { type: 'button', onclick: show }, 'Try again'));
  }
}

async function refreshBalance() {
  const place = document.getElementById('balance');
  try {
    const { balance } = await api.get('/api/v1/status');
    place.textContent = `${open(balance.free, 4)} OPEN`;
    place.title = `Free balance: ${balance.free} OPEN`;
  } catch { place.textContent = ''; }
}

function showSession() {
  sessionButton.hidden = false;
  sessionButton.textContent = session.isOpen ? 'Lock' : 'Unlock';
  sessionButton.title = session.isOpen ? 'End this session in every tab' : 'This page may only read until it is unlocked';
}

function askForSecret() {
  unlockSecret.value = '';
  unlockFault.hidden = true;
  unlockDialog.showModal();
  return new Promise((resolve) => {
    unlockDialog.addEventListener('close', () => resolve(session.isOpen), { once: true });
  });
}

unlockDialog.querySelector('form').addEventListener('submit', async (event) => {
  if (event.submitter?.value !== 'unlock') return;
  event.preventDefault();
  try {
    await session.unlock(unlockSecret.value.trim());
    unlockDialog.close();
  } catch (error) {
    unlockFault.textContent = error.code === 'invalid_token' ? 'That is not the token of this peer.' : error.message;
    unlockFault.hidden = false;
    unlockSecret.focus();
  }
});

sessionButton.addEventListener('click', () => (session.isOpen ? session.end() : askForSecret()));
session.onChange(showSession);
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });
addEventListener('hashchange', async () => {
  const wasInside = document.activeElement === document.body || main.contains(document.activeElement);
  await arrive();
  if (wasInside && (document.activeElement === document.body || !main.contains(document.activeElement))) main.focus({ preventScroll: true });
});
reach.onChange(() => {
  lost.hidden = !reach.isLost;
  if (!reach.isLost && hasFailed) show();
});

/** Shows what the address names, after the code of a link is taken out of it. */
async function arrive() {
  let codeFault = null;
  try { await session.takeCode(); } catch (error) { codeFault = error; }
  await show();
  if (codeFault) main.prepend(fault(codeFault));
}

session.begin();
showSession();
refreshBalance();
setInterval(() => { if (!document.hidden) refreshBalance(); }, 15000);
await arrive();
document.documentElement.dataset.ready = 'true';
