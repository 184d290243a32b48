/*! sse-server's client for pages. /sse-client.d.ts says what each option is for. */
//
// The server serves sse-client.min.js, which `npm --prefix tests/client run minify` makes of this file.
//
// Every tab has a place: the id of its last message. It asks /messages for what came before it was there, and for what it has
// missed. One tab holds a lock, and with it the stream; it tells the others what comes. Whoever gets the lock next goes on
// behind its own place.

export function follow(server, channels, options = {}) {
  const { onMessage, onStatus, onGap, types = [], last, since, token, tabs = true, silence = 45_000 } = options;
  const base = new URL(server.replace(/\/*$/, '/'), location);
  const canal = [...new Set(channels)].sort().join();
  const hasFreshTokens = typeof token === 'function';
  // Tabs with the same name share, if they tell each other the same: the number is that of `take`. Web Locks are missing in
  // pages of plain http, but for localhost.
  const name = `sse-client 1 ${base} ${canal} ${hasFreshTokens ? '' : (token ?? '')}`;
  const locks = tabs && globalThis.BroadcastChannel && navigator.locks;
  const others = locks ? new BroadcastChannel(name) : undefined;

  const end = new AbortController();
  let status;
  let bearer;
  /** Ends this tab's stream, while it leads. */
  let leading;
  /** Takes this tab out of the line of those who wait for their turn to lead. */
  let waiting;
  /** Whether the page was left. Browsers keep it as it is, without running it, for when the user comes back. */
  let isAway = false;
  /** Unknown until what came before is fetched. */
  let place;
  /** How long to wait before coming back, as the server wishes. */
  let retry = 2000;
  /** Where the stream is and how, while this tab leads. */
  let stream;
  /** What the leading tab tells while this one fetches what came before. */
  let held = [];
  let watch;

  // What the page's functions throw is the page's own, and stops nothing here.
  const call = (f, value) => queueMicrotask(() => end.signal.aborted || f?.(value));

  function say(now, why) {
    if (now === 'closed') return close(why);
    if (now && now !== status) call(onStatus, (status = now));
  }

  function close(why) {
    if (end.signal.aborted) return;
    end.abort();
    rest();
    others?.close();
    clearTimeout(watch);
    onStatus?.('closed', why);
  }

  function deliver(message) {
    place = message.id;
    if (message.type === 'message' || types.includes(message.type)) call(onMessage, message);
  }

  /** Takes what the leading tab tells. `after` is the id before: whose place is older has missed something. */
  function take(note) {
    const { after, message, gap, status, why } = note;
    if (held) return held.push(note);
    if (isNewer(after, place)) {
      held = [note];
      return catchUp({ since: place });
    }
    if (gap) call(onGap, gap);
    // Where a server has lost its history and its clock was set back, ids begin again lower.
    if (message && (isNewer(message.id, place) || !isNewer(message.id, after))) deliver(message);
    say(status, why);
  }

  /** Tells every tab, this one too. */
  function tell(note) {
    const told = { ...stream, ...note };
    stream = { after: note.message?.id ?? told.after, status: told.status };
    others?.postMessage(told);
    take(told);
  }

  /**
   * Asks until `use` is 'done', or again 'now'. After a refusal or a loss it waits, longer each time, and for a time
   * that differs from tab to tab.
   */
  async function ask(path, query, { signal }, report, use) {
    let failures = 0;
    while (!signal.aborted) {
      const attempt = new AbortController();
      const abort = () => attempt.abort();
      signal.onabort = abort;
      let silent;
      const heard = () => {
        clearTimeout(silent);
        silent = setTimeout(abort, silence);
      };
      let pause = 0;
      let next;
      // One that was good before may have expired since, in a tab that was not leading as in one that slept.
      const isOld = bearer;
      try {
        bearer ??= hasFreshTokens ? await token() : token;
        heard();
        const url = new URL(path, base);
        const parameters = Object.entries({ canal, ...query() }).filter(([, value]) => value !== undefined);
        url.search = new URLSearchParams(parameters);
        const headers = bearer ? { Authorization: `Bearer ${bearer}` } : {};
        const answer = await fetch(url, { headers, signal: attempt.signal, cache: 'no-store' });
        if (answer.ok) {
          failures = 0;
          next = await use(answer, heard);
        } else {
          pause = Number(answer.headers.get('Retry-After')) * 1000 || 0;
          if (answer.status === 401 && hasFreshTokens) {
            bearer = undefined;
            if (isOld) next = 'now';
          } else if ([400, 401, 403].includes(answer.status)) report('closed', (await answer.json()).detail);
        }
      } catch {
        // Not reached, or lost: it tries again.
      }
      clearTimeout(silent);
      if (signal.aborted || next === 'done') return;
      if (next === 'now') continue;
      report('lost');
      pause += Math.min(retry * 2 ** failures++, 30_000) * (0.5 + Math.random() / 2);
      await new Promise((done) => {
        signal.onabort = done;
        setTimeout(done, pause);
      });
    }
  }

  /** Fetches what came before, or what was missed, and goes on with what the leading tab has told meanwhile. */
  async function catchUp(query) {
    // Without a wish for messages, all it needs is a place to begin.
    const hasWish = Object.values(query).some((value) => value !== undefined);
    await ask('messages', () => (hasWish ? query : { last: 1 }), end, say, async (answer) => {
      const lines = await answer.text();
      for (const line of lines.split('\n').filter((line) => hasWish && line)) {
        const { gap, event: type = 'message', ...message } = JSON.parse(line);
        if (gap) call(onGap, gap);
        else deliver({ type, ...message });
      }
      place = answer.headers.get('Last-Event-ID') ?? '';
      const notes = held;
      held = undefined;
      notes.forEach(take);
      return 'done';
    });
  }

  /** Keeps the stream, until this tab closes or another one takes over. */
  async function lead() {
    leading = new AbortController();
    stream = { after: place, status };
    const query = () => ({ last_event_id: stream.after, format: 'json', heartbeat: 'event' });
    await ask('sse', query, leading, (status, why) => tell({ status, why }), async (answer, heard) => {
      tell({ status: 'open' });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      let event = {};
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        const lines = (rest + value).split('\n');
        rest = lines.pop();
        for (const line of lines) {
          const [field] = line.split(':', 1);
          if (field) event[field] = line.slice(field.length + 2);
          if (field === 'retry') retry = Number(event.retry);
          if (line) continue;
          const { id, event: type = 'message', data = '{}' } = event;
          const content = JSON.parse(data);
          event = {};
          if (id) tell({ message: { id, type, ...content } });
          else if (type === 'sse-gap') tell({ gap: content });
          else if (type !== 'sse-expired') tell({});
          else if (hasFreshTokens && content.reason !== 'ended') {
            bearer = undefined;
            return 'now';
          } else tell({ status: 'closed', why: content.reason });
        }
      }
    });
  }

  /** Waits for its turn, or takes over from a tab that stands still. */
  function queue(steal) {
    if (!steal) waiting = new AbortController();
    const turn = () => {
      if (!steal) waiting = undefined;
      return lead();
    };
    locks.request(name, steal ? { steal } : { signal: waiting.signal }, turn).catch((error) => {
      // Another tab has taken over, or this one rests.
      leading?.abort();
      leading = undefined;
      if (isAway || end.signal.aborted) return;
      listen();
      // Not for pages without an origin, such as those in a sandbox.
      if (error.name !== 'AbortError') lead();
      else if (!waiting) queue();
    });
  }

  /** Leaves the stream to the other tabs. */
  function rest() {
    leading?.abort();
    waiting?.abort();
    leading = waiting = undefined;
  }

  /** Takes part in leading. */
  function work() {
    if (isAway || place === undefined || end.signal.aborted) return;
    if (!locks) return lead();
    queue();
    // The leading tab says how things are.
    others.postMessage(null);
  }

  /** Expects to hear from the leading tab, as often as that one hears from the server. */
  function listen() {
    clearTimeout(watch);
    watch = setTimeout(() => {
      others.postMessage(null);
      watch = setTimeout(() => place !== undefined && !leading && !isAway && queue(true), 5000);
    }, silence);
  }

  async function begin() {
    // Whoever calls has what `follow` returns first.
    await null;
    if (end.signal.aborted) return;
    say('connecting');
    const { signal } = end;
    addEventListener('pagehide', () => {
      isAway = true;
      rest();
    }, { signal });
    addEventListener('pageshow', () => {
      if (!isAway) return;
      isAway = false;
      work();
    }, { signal });
    if (others) {
      others.onmessage = ({ data: note }) => {
        // Another tab has come, and asks how things are.
        if (!note) return leading && tell({});
        listen();
        // The turn to lead may come before the word of the tab that led, which ended the stream of all.
        if (!leading || note.status === 'closed') take(note);
      };
      listen();
    }
    await catchUp({ last, since });
    work();
  }

  begin();
  return { close: () => close() };
}

/** Ids are MILLISECONDS-SEQUENCE. */
function isNewer(one, other) {
  const [[a, b = 0], [c, d = 0]] = [one, other].map((id) => id.split('-').map(Number));
  return a > c || (a === c && b > d);
}
