// The node's HTTP interface (Protocol/api.md), and who this page is to it.
//
//   #code=olc_… ──exchange──▶ session token in sessionStorage ──▶ Authorization header of every request
//        ▲                        │ ended here, in another tab, or by the peer
//   olt_… (pasted)                ▼
//                              gone: reading goes on, changes ask again
//
// Other tabs of the same origin are given the token over a BroadcastChannel, so a link that works once is enough.

const storageKey = 'openledger-session';
const channel = 'BroadcastChannel' in window ? new BroadcastChannel('openledger-session') : null;
const listeners = new Set();
const tabAnswerMilliseconds = 250;
const followAgainMilliseconds = 1000;

export class ApiFault extends Error {
  constructor(status, body, retryAfter) {
    const error = body?.error ?? {};
    super(error.message ?? `the peer answered with status ${status}`);
    this.status = status;
    this.code = error.code ?? null;
    this.param = error.param ?? null;
    this.faults = error.details?.faults ?? [];
    this.faultsTotal = error.details?.faults_total ?? this.faults.length;
    this.retryAfter = retryAfter;
  }
}

export const session = {
  get token() { return sessionStorage.getItem(storageKey); },
  get isOpen() { return this.token !== null; },
  set(token) {
    if (token === null) sessionStorage.removeItem(storageKey);
    else sessionStorage.setItem(storageKey, token);
    for (const listener of listeners) listener();
  },
  onChange(listener, signal) {
    listeners.add(listener);
    signal?.addEventListener('abort', () => listeners.delete(listener));
  },

  /** Listens to the other tabs, and asks them for a session if this tab has none. */
  begin() {
    channel?.addEventListener('message', ({ data }) => {
      if (data?.ask === true && this.token) channel.postMessage({ token: this.token });
      else if (typeof data?.token === 'string' && !this.token) this.set(data.token);
      else if (typeof data?.ended === 'string' && data.ended === this.token) this.set(null);
    });
    if (!this.token) channel?.postMessage({ ask: true });
  },

  /** Takes a code out of the address. A link that was used already is no fault while a tab is unlocked. */
  async takeCode() {
    const code = /^#code=(.*)$/.exec(location.hash)?.[1];
    if (code === undefined) return;
    history.replaceState(null, '', '#/');
    try {
      await this.unlock(code);
    } catch (error) {
      if (!this.token && channel) await new Promise((resolve) => { setTimeout(resolve, tabAnswerMilliseconds); });
      if (!this.token) throw error;
    }
  },

  /** secret: a link, a code or the home token, as someone pasted it. The token itself is not kept. */
  async unlock(secret) {
    let code = /olc_[\w-]+/.exec(secret)?.[0];
    const homeToken = /olt_[\w-]+/.exec(secret)?.[0];
    if (!code && !homeToken) throw new Error('That holds neither a code (olc_…) nor a token (olt_…).');
    if (!code) code = (await api.post('/api/v1/session/code', {}, { bearer: homeToken })).code;
    this.set((await api.post('/api/v1/session', { code }, { bearer: null })).token);
  },

  async end() {
    const { token } = this;
    await api.delete('/api/v1/session').catch(() => {});
    channel?.postMessage({ ended: token });
    this.set(null);
  },
};

/** Whether the peer answered the last time it was asked. */
export const reach = {
  isLost: false,
  listeners: new Set(),
  onChange(listener) { this.listeners.add(listener); },
  set(isLost) {
    if (this.isLost === isLost) return;
    this.isLost = isLost;
    for (const listener of this.listeners) listener();
  },
};

async function call(method, path, { body, type, signal, bearer = session.token, headers: extra } = {}) {
  const headers = { ...extra };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  if (body !== undefined) headers['Content-Type'] = type ?? 'application/json';
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal, cache: 'no-store', credentials: 'omit', redirect: 'error',
      body: body === undefined || type ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    reach.set(true);
    throw new Error('The peer does not answer. Is it running? Start it with: openledger up');
  }
  reach.set(false);
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  const fault = new ApiFault(response.status, answer, Number(response.headers.get('Retry-After')) || null);
  if (fault.code === 'invalid_token' && bearer === session.token) {
    // The peer was restarted, or the session is too old: reading needs none.
    session.set(null);
    if (method === 'GET') return call(method, path, { signal, bearer: null, headers: extra });
  }
  throw fault;
}

const part = encodeURIComponent;

/** Reads blocks of `field: value` lines; resolves to whether `take` answered true before the end. */
async function eventsOf(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      rest += value;
      const blocks = rest.split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split('\n').map((line) => /^(\w+): ?(.*)$/.exec(line)?.slice(1)).filter(Boolean));
        if (fields.data !== undefined && take(fields.event, fields.id, JSON.parse(fields.data))) return true;
      }
    }
  } finally { reader.cancel().catch(() => {}); }
}

export const api = {
  get: async (path, options) => (await call('GET', path, options)).json(),
  post: async (path, body = {}, options = {}) => (await call('POST', path, { ...options, body })).json(),
  delete: async (path) => (await call('DELETE', path)).json(),
  bytes: async (path) => new Uint8Array(await (await call('GET', path)).arrayBuffer()),
  /** Calls `take` with each line's object; resolves with the last. An error line is thrown. */
  async lines(path, body, take, signal) {
    const response = await call('POST', path, { body, signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    let last = null;
    for (;;) {
      const { value, done } = await reader.read();
      rest += value ?? '';
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) {
        last = JSON.parse(line);
        if (last.event === 'error') throw new ApiFault(500, last);
        take(last);
      }
      if (done) break;
    }
    if (last?.event !== 'done') throw new Error('The connection ended before the answer did.');
    return last;
  },
  /** Server-sent events, from the first on: calls `take` with each one's object until it answers true. A connection that is lost
      is made again and goes on behind the last numbered event. An event that is an error is thrown. */
  async follow(path, take, signal) {
    let lastID = null;
    while (!signal.aborted) {
      const headers = { Accept: 'text/event-stream', ...(lastID === null ? {} : { 'Last-Event-ID': lastID }) };
      const isOver = await call('GET', path, { signal, headers })
        .then((response) => eventsOf(response, (name, id, data) => {
          if (name === 'error') throw new ApiFault(500, data);
          lastID = id ?? lastID;
          return take(data);
        }))
        .catch((error) => {
          // A lost connection, or a peer that is starting or stopping: again.
          if (error.name === 'AbortError' || (error instanceof ApiFault && error.status !== 503)) throw error;
          return false;
        });
      if (isOver) return;
      await new Promise((resolve) => { setTimeout(resolve, followAgainMilliseconds); });
    }
  },
};

export const paths = {
  list: (noun, cursor, limit = 25) => `/api/v1/${noun}?limit=${limit}${cursor ? `&cursor=${part(cursor)}` : ''}`,
  one: (noun, name, more = '') => `/api/v1/${noun}/${part(name)}${more}`,
};
