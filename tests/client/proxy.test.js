// The client for pages with a server that a real proxy has under a path, PAGE_URL. Called by tests/it/proxy.rs.

import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Browser, site } from './browser.js';

const { BROWSER, PAGE_URL, TOKEN } = process.env;
let browser;
let pages;

before(async () => {
  browser = await Browser.open(BROWSER);
  pages = await site(() => PAGE_URL);
});
after(async () => {
  await browser?.close();
  pages?.close();
});

for (const server of [PAGE_URL, PAGE_URL.replace(/\/$/, '')]) {
  test(`pages follow ${new URL(server).pathname}, with a token and without`, async () => {
    const tabs = [await browser.tab(pages.url), await browser.tab(pages.url)];
    await tabs[0].opened(server, ['news']);
    await tabs[1].opened(server, ['news'], { token: TOKEN });
    const body = 'through the proxy';
    const headers = { Authorization: `Bearer ${TOKEN}` };
    assert.equal((await fetch(new URL('publish/news', PAGE_URL), { method: 'POST', headers, body })).status, 200);
    for (const tab of tabs) {
      await tab.got(body);
      assert.deepEqual(await tab.texts(), [body]);
      assert.deepEqual(tab.errors, []);
      await tab.close();
    }
  });
}
