// Drives the control page in Chromium as a user would, and checks what both sides say.
//
//     node control_page.mjs PAGE_URL CHROMIUM [SCREENSHOT]
//
// Needs a server that plays testdata/demo.mcap in a loop. Exits with 1 where something is not as it should be.
import { chromium } from "playwright-core";

const [url, executablePath, screenshot] = process.argv.slice(2);
const state = async () => (await fetch(new URL("/api/state", url))).json();

function check(holds, what) {
  if (!holds) throw new Error(what);
}

// Waits for a moment that has to come, and fails where it does not.
async function until(what, holds) {
  for (let look = 0; look < 300; look++) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`it did not happen within 30 s: ${what}`);
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 1000 } });
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) complaints.push(`asks ${request.url()}`);
  });
  await page.goto(url);
  await page.locator("#topics tr").first().waitFor();

  await page.getByRole("button", { name: "Play" }).click();
  await until("it plays", async () => (await state()).state === "playing");
  await until("the page says so", async () => (await page.locator("#state").innerText()).includes("playing"));
  await until("the topic table moves", async () => {
    const speeds = await page.locator("#topics tr td:nth-child(4)").allInnerTexts();
    return speeds.some((speed) => Number(speed) > 0);
  });

  await page.getByRole("button", { name: "Pause" }).click();
  await until("it pauses", async () => (await state()).state === "paused");

  await page.locator("#seek").fill("12.5");
  await until("it goes where the scrubber is", async () => Math.abs((await state()).offset - 12.5) < 0.01);
  const before = (await state()).offset;
  // Several messages may have the same time.
  await until("steps go ahead", async () => {
    await page.getByRole("button", { name: "Next message" }).click();
    return (await state()).offset > before;
  });
  await page.getByRole("button", { name: "Step back" }).click();
  await until("a step goes back", async () => (await state()).offset <= 12.5);

  await page.getByLabel("Speed").selectOption("5");
  await until("the speed changes", async () => (await state()).rate === 5);
  const loops = (await state()).loop;
  await page.getByRole("button", { name: "Loop" }).click();
  await until("the loop changes", async () => (await state()).loop !== loops);

  await page.locator("h1").click();
  await page.keyboard.press("2");
  await until("a digit jumps to a tenth", async () => Math.abs((await state()).offset - 24 * 0.2) < 0.1);
  await page.keyboard.press("ArrowDown");
  await until("an arrow changes the speed", async () => (await state()).rate === 3);
  await page.keyboard.press("Space");
  await until("space plays", async () => (await state()).state === "playing");

  await page.getByLabel("Filter topics").fill("no such topic");
  check((await page.locator("#topics tr").count()) === 0, "the filter leaves nothing");
  await page.getByLabel("Filter topics").fill("");
  check((await page.locator("#foxglove").getAttribute("href")).includes("ds.url=ws://"), "a link opens Foxglove");
  // As it is where the page comes neither over https nor from this machine.
  await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true }));
  await page.locator("#copy").click();
  check((await page.locator("#copy").innerText()) === "Select and copy it", "it says that it could not copy");
  check((await page.evaluate(() => String(getSelection()))).startsWith("ws://"), "the address is selected");
  check((await page.locator("#clients tr").count()) === (await state()).clients.length, "all clients are listed");

  // Back to what a picture should show.
  await page.getByLabel("Speed").selectOption("1");
  await page.locator("h1").click();
  await page.evaluate(() => document.activeElement.blur());
  await until("the speed is 1", async () => (await state()).rate === 1);
  await new Promise((done) => setTimeout(done, 2500));
  if (screenshot) {
    await page.screenshot({ path: screenshot, fullPage: true });
    for (const [name, options] of [["phone", { width: 360, height: 1000 }], ["dark", { width: 1100, height: 1000 }]]) {
      await page.setViewportSize(options);
      if (name === "dark") await page.emulateMedia({ colorScheme: "dark" });
      await page.screenshot({ path: screenshot.replace(".png", `-${name}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 360, height: 800 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(overflow <= 0, `on a phone the page is ${overflow} px too wide`);
  check(complaints.length === 0, `the console has: ${complaints.join("; ")}`);
  console.log("scrubbed, paused, stepped, changed speed and loop, by mouse and keys; the table moved; no complaint");
} finally {
  await browser.close();
}
