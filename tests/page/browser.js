// Real browsers, and a page that remembers what it asked for and what it complained about.

import { chromium, firefox } from 'playwright-core';
import { existsSync as isThere } from 'node:fs';
import { join } from 'node:path';

/** Debian's browsers, which are looked up in the path as a shell does it: Firefox is driven by WebDriver BiDi. */
const BROWSERS = {
  chromium: [chromium, 'chromium', { args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] }],
  firefox: [firefox, 'firefox-esr', { channel: 'moz-firefox' }],
};

/** For a machine that is busy with other tests. */
const BOUND = 120_000;

export class Browser {
  /** `name` is chromium or firefox, `dark` its colours, `hosts` Chromium's rules for names (`MAP NAME:PORT ADDRESS`). */
  static async open(name, { dark = false, hosts } = {}) {
    const browser = new Browser();
    const [kind, program, options] = BROWSERS[name];
    browser.colorScheme = dark ? 'dark' : 'light';
    browser.driven = await kind.launch({
      ...options, timeout: BOUND,
      args: [...options.args ?? [], ...hosts ? [`--host-resolver-rules=${hosts}`] : []],
      executablePath: process.env.PATH.split(':').map((folder) => join(folder, program)).find(isThere),
      // Its colours cannot be chosen in any other way.
      firefoxUserPrefs: { 'layout.css.prefers-color-scheme.content-override': dark ? 0 : 1 },
    });
    return browser;
  }

  /** A page that shares nothing with the others of its browser; `language` is what it asks for. */
  async page(url, { language = 'en-US', width = 1280, height = 900, scale = 1 } = {}) {
    const { colorScheme } = this;
    const page = await this.driven.newPage({ colorScheme, locale: language, viewport: { width, height }, deviceScaleFactor: scale });
    page.setDefaultTimeout(BOUND);
    const seen = { requests: [], complaints: [] };
    page.on('request', (request) => seen.requests.push(request.url()));
    page.on('pageerror', (error) => seen.complaints.push(`error: ${error.message}`));
    page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) seen.complaints.push(`${message.type()}: ${message.text()}`); });
    await page.goto(url);
    return Object.assign(page, { seen });
  }

  close() {
    return this.driven.close();
  }
}
