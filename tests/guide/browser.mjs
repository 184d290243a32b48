// A headless browser (BROWSER: chromium or firefox) for tests/it/guide.rs: takes one command a line, as JSON, and answers each
// with one line of JSON, {"ok": …} or {"error": …}. Ends when its input does.
import { createInterface } from 'node:readline';
import { chromium, firefox } from 'playwright-core';

/** For a machine that is busy with other tests. */
const BOUND = { timeout: 180_000 };

const launch = {
  chromium: () => chromium.launch({ ...BOUND, executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] }),
  // Debian's, driven by WebDriver BiDi.
  firefox: () => firefox.launch({ ...BOUND, executablePath: '/usr/bin/firefox-esr', channel: 'moz-firefox' }),
};
const browser = await launch[process.env.BROWSER]();
const page = await browser.newPage();
page.setDefaultTimeout(BOUND.timeout);

/** All that came to the browser, and all that it asked for: what each was, and its text. */
const seen = [];
const requests = [];
const errors = [];
/** What Chromium and Firefox say of a server that is away. Refusals of another site have other words. */
const UNREACHED = /^Failed to load resource|CORS request did not succeed/;
const pending = new Set();

page.on('request', (request) => requests.push(request.url()));
page.on('response', (response) => {
  seen.push([`headers of ${response.url()}`, JSON.stringify(response.headers())]);
  // The body of an event stream has no end; what it brings is collected below.
  if (response.headers()['content-type'] === 'text/event-stream') return;
  const body = response.text().then(
    (text) => seen.push([`body of ${response.url()}`, text]),
    () => {},
  );
  pending.add(body);
  body.finally(() => pending.delete(body));
});
page.on('pageerror', (error) => { if (!UNREACHED.test(String(error))) errors.push(String(error)); });
page.on('console', (message) => {
  // A refused connection is what the tests want; the browser's own words about it are no error of the page.
  if (message.type() === 'error' && !UNREACHED.test(message.text())) errors.push(message.text());
});
await page.exposeFunction('streamed', (text) => seen.push(['an event stream', text]));
await page.addInitScript(() => {
  const ask = window.fetch;
  window.fetch = async (...what) => {
    const answer = await ask(...what);
    if (answer.headers.get('Content-Type') !== 'text/event-stream') return answer;
    const told = new TextDecoderStream();
    const [one, other] = answer.body.tee();
    one.pipeThrough(told).pipeTo(new WritableStream({ write: (text) => window.streamed(text) })).catch(() => {});
    return new Response(other, answer);
  };
});

const commands = {
  /** Goes to a page. */
  open: (url) => page.goto(url).then((response) => response.status()),
  /** Waits until the page shows a text. */
  see: (text) => page.waitForFunction((text) => document.body.innerText.includes(text), text).then(() => true),
  /** Waits until the page no longer shows it. */
  miss: (text) => page.waitForFunction((text) => !document.body.innerText.includes(text), text).then(() => true),
  /** Whether the page shows it now. */
  shows: (text) => page.evaluate((text) => document.body.innerText.includes(text), text),
  reload: () => page.reload().then((response) => response.status()),
  /** Clicks the button that says this. */
  click: (text) => page.getByRole('button', { name: text }).click().then(() => true),
  /** Waits until something was asked for whose URL has this text. */
  requested: async (text) => {
    while (!requests.some((url) => url.includes(text))) await page.waitForRequest((url) => url.url().includes(text));
    return true;
  },
  /** The lines of the list of messages, without the time. */
  messages: () => page.$$eval('li', (items) => items.map((item) => item.innerText.replace(/^.*?(?=chat|alerts)/, ''))),
  requests: () => requests,
  /** Writes into the field, and sends it. */
  send: async (text) => {
    // Key by key, as users do: in Firefox React learns nothing of what `fill` writes.
    await page.locator('form input').pressSequentially(text);
    await page.click('form button');
    return true;
  },
  /** Sends a request as the page's script could. */
  fetch: ([url, init]) =>
    page.evaluate(([url, init]) => fetch(url, init).then(async (r) => [r.status, await r.text()]), [url, init]),
  /** Where a text is, in all that came to the browser. */
  search: async (text) => {
    // The body of an answer that the page has dropped may never come to an end.
    await Promise.race([Promise.all(pending), new Promise((done) => setTimeout(done, 10_000))]);
    const content = [['the page itself', await page.content()]];
    return [...seen, ...content].filter(([, content]) => content.includes(text)).map(([what]) => what);
  },
  errors: () => errors,
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = JSON.parse(line);
  try {
    console.log(JSON.stringify({ ok: await commands[command](argument) }));
  } catch (error) {
    const text = await page.evaluate(() => document.body.innerText).catch(() => '');
    console.log(JSON.stringify({ error: `${error.message}; the page shows: ${text}` }));
  }
}
await browser.close();
