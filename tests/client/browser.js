// Real browsers with tabs and windows of one profile, and a site of its own origin that they open.

import { chromium, firefox } from 'playwright-core';
import { createServer, request } from 'node:http';
import { existsSync as isThere } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { until } from '../page/server.js';

/** A name for this machine that makes no secure context, as an address in a local network does not. */
const INSECURE = 'site.test';

/** Debian's browsers, which are looked up in the path as a shell does it: Firefox is driven by WebDriver BiDi. */
const BROWSERS = {
  chromium: [chromium, 'chromium', {
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--host-resolver-rules=MAP ${INSECURE} 127.0.0.1`],
    // As users have it.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
  }],
  firefox: [firefox, 'firefox-esr', { channel: 'moz-firefox', firefoxUserPrefs: { 'network.dns.localDomains': INSECURE } }],
};

/** For a machine that is busy with other tests. */
const BOUND = 120_000;

export class Browser {
  static async open(name) {
    const browser = new Browser();
    const [kind, program, options] = BROWSERS[name];
    const executablePath = process.env.PATH.split(':').map((folder) => join(folder, program)).find(isThere);
    browser.driven = await kind.launch({ ...options, executablePath, timeout: BOUND });
    browser.profile = await browser.driven.newContext();
    browser.profile.setDefaultTimeout(BOUND);
    return browser;
  }

  async tab(url) {
    const tab = new Tab(await this.profile.newPage());
    await tab.page.goto(url);
    return tab.ready();
  }

  /** As `tab`, in a window of its own, which needs an open tab. */
  async window(url) {
    // It opens the site by itself: on its way to another page it would be in the way of going there.
    const [page] = await Promise.all([
      this.profile.waitForEvent('page'),
      this.profile.pages()[0].evaluate((url) => { open(url, '', 'popup,noopener,width=500,height=400'); }, url),
    ]);
    const tab = await new Tab(page).ready();
    await tab.until('it is a window, and no tab', () => outerWidth === 500);
    return tab;
  }

  close() {
    return this.driven.close();
  }
}

/** A tab of the site that follows channels, and remembers what it got. */
export class Tab {
  constructor(page) {
    this.page = page;
    this.errors = [];
    page.on('pageerror', (error) => this.errors.push(error.message));
  }

  async ready() {
    await until('the page is ready', () => this.page.evaluate(() => window.isReady));
    return this;
  }

  /** `options.token` may be a path of the site that gives one. */
  async follow(server, channels, options = {}) {
    await this.page.evaluate((values) => window.start(...values), [server, channels, options]);
    return this;
  }

  async opened(server, channels, options) {
    await this.follow(server, channels, options);
    await this.is('open');
    return this;
  }

  /** Waits until this is true in the page. It is asked from here, since timers and frames stand still in tabs that nobody sees. */
  async until(what, condition, value) {
    await until(what, () => this.page.evaluate(condition, value)).catch(async (error) => {
      throw new Error(`${error.message}; it has been ${await this.statuses()}, and got last ${(await this.texts()).slice(-5)}`);
    });
  }

  is(status) { return this.until(`the tab is ${status}`, (status) => window.statuses.at(-1) === status, status); }

  /** Waits until it has been so, also if that is over by now. */
  was(status) { return this.until(`the tab was ${status}`, (status) => window.statuses.includes(status), status); }

  got(text) {
    return this.until(`the tab gets ${text}`, (text) => window.messages.findLast(({ mensagem }) => mensagem === text), text);
  }

  statuses() { return this.page.evaluate(() => window.statuses); }
  messages() { return this.page.evaluate(() => window.messages); }
  gaps() { return this.page.evaluate(() => window.gaps); }
  texts() { return this.page.evaluate(() => window.messages.map(({ mensagem }) => mensagem)); }

  /** Whether this tab has the stream of all. */
  leads() { return this.page.evaluate(() => window.leads()); }

  end() { return this.page.evaluate(() => window.stream.close()); }
  close() { return this.page.close(); }
}

const PAGE = `<!doctype html><meta charset=utf-8><link rel=icon href=data:,><script type=module>
import { follow } from '/live/sse-client.js';
Object.assign(window, { messages: [], statuses: [], gaps: [] });
window.start = (server, channels, { token, throwing, ...options }) => {
  // A path of the site that gives a token.
  if (token?.startsWith('/')) { const path = token; token = async () => (await fetch(path)).text(); }
  window.stream = follow(server, channels, {
    ...options, token,
    onMessage: (message) => { messages.push(message); if (throwing) throw new Error('of the page'); },
    onStatus: (status, reason) => { statuses.push(reason ? status + ': ' + reason : status); },
    onGap: (gap) => { gaps.push(gap); },
  });
};
// The id of this tab among those who hold locks is that of who holds this one.
const mine = crypto.randomUUID?.();
navigator.locks?.request(mine, () => new Promise(() => {}));
window.leads = async () => {
  const { held } = await navigator.locks.query();
  const id = held.find(({ name }) => name === mine)?.clientId;
  return held.some(({ name, clientId }) => name !== mine && clientId === id);
};
window.isReady = true;
</script>`;

/** Serves the page, and whatever server is behind it under /live. */
export async function site(behind, more = {}) {
  const listener = createServer(async (incoming, outgoing) => {
    const url = new URL(incoming.url, 'http://site');
    if (url.pathname === '/') return outgoing.writeHead(200, { 'Content-Type': 'text/html' }).end(PAGE);
    if (url.pathname === '/elsewhere') return outgoing.writeHead(200, { 'Content-Type': 'text/html' }).end('another page');
    const own = more[url.pathname];
    if (own) return own(incoming, outgoing, url);
    if (!url.pathname.startsWith('/live/')) return outgoing.writeHead(404).end();
    const passed = request(new URL(incoming.url.slice('/live/'.length), behind()), { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers).flushHeaders();
      answer.on('error', () => outgoing.destroy());
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    outgoing.on('close', () => passed.destroy());
    incoming.pipe(passed);
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  return {
    url: `http://localhost:${port}/`,
    insecure: `http://${INSECURE}:${port}/`,
    close() { listener.closeAllConnections(); listener.close(); },
  };
}
