// Real browsers, and a page that remembers what it asked for and what it complained about.

import puppeteer from 'puppeteer-core';
import { existsSync as isThere } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CHROMIUM_ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

export class Browser {
  /** `name` is chromium or firefox, `language` what it asks pages for, `dark` its colours. */
  static async open(name, { language = 'en-US', dark = false } = {}) {
    const browser = new Browser();
    browser.name = name;
    browser.dark = dark;
    browser.profile = await mkdtemp(join(tmpdir(), 'sse-server-page-'));
    const options = name === 'chromium'
      ? { executablePath: 'chromium', args: [...CHROMIUM_ARGUMENTS, `--lang=${language}`, `--accept-lang=${language}`] }
      : {
        executablePath: 'firefox-esr',
        extraPrefsFirefox: {
          'intl.accept_languages': language, 'layout.css.prefers-color-scheme.content-override': dark ? 0 : 1,
          'app.normandy.enabled': false, 'datareporting.policy.dataSubmissionEnabled': false,
        },
      };
    // The command is looked up in the path by the shell's rules, which puppeteer does not do.
    options.executablePath = (process.env.PATH ?? '').split(':').map((folder) => join(folder, options.executablePath)).find(isThere) ?? options.executablePath;
    browser.driven = await puppeteer.launch({ browser: name === 'chromium' ? 'chrome' : 'firefox', headless: true, userDataDir: browser.profile, protocolTimeout: 120_000, timeout: 120_000, ...options });
    return browser;
  }

  async page(url, { width = 1280, height = 900, scale = 1 } = {}) {
    const page = await this.driven.newPage();
    const seen = { requests: [], complaints: [] };
    page.on('request', (request) => seen.requests.push(request.url()));
    page.on('pageerror', (error) => seen.complaints.push(`error: ${error.message}`));
    page.on('console', (message) => { if (['error', 'warn', 'warning'].includes(message.type())) seen.complaints.push(`${message.type()}: ${message.text()}`); });
    await page.setViewport({ width, height, deviceScaleFactor: scale });
    if (this.name === 'chromium') await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: this.dark ? 'dark' : 'light' }]);
    await page.goto(url);
    return Object.assign(page, { seen });
  }

  async close() {
    await this.driven.close();
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
