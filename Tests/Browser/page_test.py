"""The web page of a peer, in headless Chromium.

    python page_test.py URL [--fake] [--shots DIR]

URL is what `openledger up` prints, with its #code=…; or one without, and --token FILE. With --fake the peer is the fake one
of Tests/GatewayTests (ServeFakeNode), and what it is known to answer is checked too. --shots writes a screenshot of each page,
desktop and phone, light and dark. Needs `pip install selenium`, chromium and chromium-driver. Exits 1 if a check failed.
"""

import argparse
import json
import os
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import Select, WebDriverWait

PAGES = ["/", "/chat", "/receipts", "/datanets", "/network", "/chain"]
failures = 0


def check(name, holds, detail=""):
    global failures
    failures += 0 if holds else 1
    print(f"{'ok  ' if holds else 'FAIL'} {name}{'' if holds else ': ' + str(detail)}", flush=True)


def start():
    options = webdriver.ChromeOptions()
    for flag in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver_path = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")
    service = Service(driver_path) if os.path.exists(driver_path) else Service()
    return webdriver.Chrome(options=options, service=service)


class Page:
    def __init__(self, driver, base):
        self.driver, self.base = driver, base

    def wait(self, condition, seconds=15):
        return WebDriverWait(self.driver, seconds, ignored_exceptions=None).until(condition)

    def one(self, selector):
        return self.wait(lambda d: d.find_elements(By.CSS_SELECTOR, selector))[0]

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    @property
    def text(self):
        return self.driver.execute_script("return document.getElementById('main').innerText")

    def has(self, text, seconds=15):
        try:
            return self.wait(lambda d: text in self.text, seconds)
        except Exception:
            return False

    def go(self, path):
        self.driver.execute_script("location.hash = arguments[0]", "#" + path)
        self.wait(lambda d: d.find_elements(By.CSS_SELECTOR, "main h1"))
        time.sleep(0.4)

    def view(self, width, height, dark):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
        scheme = "dark" if dark else "light"
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                    {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def button(self, text):
        def find(driver):
            return [b for b in self.all("main button, main a.button") if b.text == text and b.is_displayed()]
        return self.wait(find)[0]


# Every text's colour against what lies behind it, as WCAG 2 computes contrast.
CONTRAST = """
const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m[3] ?? 1}; };
const light = (c) => { const f = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * f(c.r) + 0.7152 * f(c.g) + 0.0722 * f(c.b); };
const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a > 0.99) return c; }
  return {r: 255, g: 255, b: 255}; };
const bad = [];
for (const e of document.querySelectorAll('body *')) {
  if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
  const style = getComputedStyle(e);
  if (!e.checkVisibility() || e.closest('[hidden], dialog:not([open]), .skip, button:disabled')) continue;
  const [a, b] = [light(parse(style.color)), light(behind(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push(`${e.tagName}.${e.className} "${e.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
}
return bad;
"""

LABELS = """
return [...document.querySelectorAll('main input, main select, main textarea, main button, main a')].filter((e) => e.checkVisibility())
  .filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML.slice(0, 120));
"""


def look(page, shots):
    for width, height, device in [(1280, 900, "desktop"), (360, 740, "phone")]:
        for dark in (False, True):
            page.view(width, height, dark)
            for path in page.paths:
                page.go(path)
                time.sleep(0.5)
                scheme = "dark" if dark else "light"
                name = f"{path.strip('/').replace('/', '-')[:24] or 'home'}-{device}-{scheme}"
                wide = page.driver.execute_script("return document.documentElement.scrollWidth")
                check(f"{name}: nothing wider than the screen", wide <= width, wide)
                bad = page.driver.execute_script(CONTRAST)
                check(f"{name}: contrast of text is 4.5 or more", not bad, bad)
                unlabelled = page.driver.execute_script(LABELS)
                check(f"{name}: every control has a name", not unlabelled, unlabelled)
                if shots:
                    tall = page.driver.execute_script("return document.documentElement.scrollHeight")
                    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                        "width": width, "height": max(height, min(tall, 2600)), "deviceScaleFactor": 1, "mobile": width < 600})
                    page.driver.save_screenshot(os.path.join(shots, name + ".png"))
                    page.view(width, height, dark)
    page.view(1280, 900, False)


def converse(page, is_fake):
    page.go("/chat")
    question = page.one("textarea[name=prompt]")
    check("the question has the focus", page.driver.switch_to.active_element == question)
    datanets = Select(page.one("select[name=datanet]"))
    if len(datanets.options) > 1:
        datanets.select_by_index(1)
    adapters = Select(page.one("select[name=adapter]"))
    question.send_keys("Define brisket.")
    question.send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda d: page.all(".answer.busy"))
    page.wait(lambda d: page.all(".answer") and page.all(".answer")[0].text)
    page.wait(lambda d: not page.all(".answer.busy"), 90)
    answer = page.one(".answer").text
    check("an answer was streamed", len(answer) > 3, page.text)
    check("the answer names its receipt and cost", "Receipt" in page.text and "Cost" in page.text, page.text)
    if len(datanets.options) > 1:
        check("the answer names its sources", "Owed to" in page.text and "%" in page.text, page.text)
    if is_fake:
        check("what rows say stays text", "<b>a soup</b>" in page.text, page.text)
        check("the adapter can be chosen", [o.text for o in adapters.options] == ["No adapter", "food"])
    page.one("article a[href^='#/receipts/']").click()
    check("the receipt opens", page.has("Receipt") and page.has("Payer"), page.text)


def stop_an_answer(page):
    page.go("/chat")
    question = page.one("textarea[name=prompt]")
    question.send_keys("Define gumbo.")
    page.button("Ask").click()
    page.button("Stop").click()
    check("an answer can be stopped", page.has("Stopped"), page.text)


def verify(page):
    page.go("/receipts")
    with tempfile.TemporaryDirectory() as folder:
        for name, content, expected in [("good.olr", b"\xa1\x61\x61\x01", "Valid."), ("forged.olr", b"\xa1\x61\x61\x02", "Not valid."),
                                        ("holiday.jpg", b"\xff\xd8\xff", "no receipt bundle")]:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(content)
            page.driver.find_element(By.ID, "bundle-file").send_keys(path)
            check(f"{name}: {expected}", page.has(expected), page.text)
    check("a verdict per check is shown", len(page.all(".checks li")) in (0, 3))


def contribute(page):
    page.go("/datanets")
    page.one("details summary").click()
    page.one("input[name=name]").send_keys("drinks")
    page.one("input[name=license]").send_keys("CC0")
    page.button("Create datanet").click()
    check("a datanet is created and opened", page.has("Contribute rows") and page.has("drinks"), page.text)
    with tempfile.TemporaryDirectory() as folder:
        for name, content, expected in [("bad.jsonl", '{"prompt":"a"}\n{!}\n', "bad.jsonl:2:"), ("good.jsonl", "{}\n{}\n", "2 rows are good")]:
            path = os.path.join(folder, name)
            with open(path, "w") as file:
                file.write(content)
            page.one("input[type=file]").send_keys(path)
            check(f"{name} is checked before it is sent", page.has(expected), page.text)
            check(f"{name}: sending is {'off' if name == 'bad.jsonl' else 'on'}",
                  page.button("Contribute").is_enabled() == (name == "good.jsonl"))
        page.button("Contribute").click()
        check("rows are contributed", page.has("2 rows are in the datanet"), page.text)
    page.go("/datanets/food")
    check("markup in rows stays text", page.has("<script>alert(1)</script>"), page.text)
    page.button("Show more").click()
    check("the preview goes on", page.has("a cut of meat"), page.text)


def pay(page):
    page.go("/chain")
    check("batches, committee and account are shown", all(page.has(t) for t in ["Batches", "Committee", "Account"]), page.text)
    page.one("input[name=to]").send_keys("12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo")
    page.one("input[name=amount]").send_keys("5000")
    page.button("Transfer").click()
    check("a transfer beyond the balance is refused in words", page.has("this account holds 99.5 OPEN"), page.text)
    page.one("input[name=amount]").clear()
    page.one("input[name=amount]").send_keys("1.5")
    page.button("Transfer").click()
    check("a transfer is sent", page.has("waits for the next batch"), page.text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--token", help="file with the home's token")
    parser.add_argument("--shots")
    arguments = parser.parse_args()
    base = arguments.url.split("#")[0].rstrip("/")
    driver = start()
    try:
        page = Page(driver, base)
        page.view(1280, 900, False)
        driver.get(arguments.url)
        page.wait(lambda d: d.execute_script("return document.documentElement.dataset.ready") == "true", 30)
        check("the code is gone from the address", "code=" not in driver.current_url, driver.current_url)
        if arguments.token:
            page.one("#session").click()
            driver.find_element(By.ID, "unlock-secret").send_keys(open(arguments.token).read().strip(), Keys.ENTER)
        page.wait(lambda d: d.find_element(By.ID, "session").text == "Lock")
        check("the page is unlocked", True)
        check("home says the state in a sentence", page.one("#state-sentence").text != "", page.text)
        check("home shows the balance", "OPEN" in driver.find_element(By.ID, "balance").text)

        driver.switch_to.new_window("tab")
        driver.get(base + "/")
        page.wait(lambda d: d.find_element(By.ID, "session").text == "Lock")
        check("a second tab is given the session", True)
        driver.close()
        driver.switch_to.window(driver.window_handles[0])
        driver.get(arguments.url.split("#")[0] + "#code=olc_" + "x" * 43)
        driver.refresh()
        check("a spent code is said so", page.has("was used already"), page.text)

        page.paths = list(PAGES)
        for path in PAGES:
            page.go(path)
            check(f"{path} shows no error", not page.all("main .fault[role=alert]"), page.text)
        page.go("/no-such-page")
        check("an unknown page says so", page.has("no such page"))
        converse(page, arguments.fake)
        if arguments.fake:
            for action in (stop_an_answer, verify, contribute, pay):
                action(page)
            page.paths += ["/receipts/9c0f3a41d27e7f0b6c55e2a8d1b49f7733aa0c1e5d6f8b92c4e7a1035b6d9f20", "/datanets/food", "/chain/128"]
        driver.find_element(By.ID, "session").click()
        page.wait(lambda d: d.find_element(By.ID, "session").text == "Unlock")
        page.go("/chat")
        page.one("textarea[name=prompt]").send_keys("x", Keys.CONTROL, Keys.ENTER)
        check("a locked page asks for the secret", page.wait(lambda d: d.find_element(By.ID, "unlock").get_attribute("open") is not None))
        driver.find_element(By.CSS_SELECTOR, "#unlock button[value=cancel]").click()
        if arguments.shots:
            os.makedirs(arguments.shots, exist_ok=True)
        look(page, arguments.shots)
        log = [entry for entry in driver.get_log("browser")
               if entry["level"] == "SEVERE" and "the server responded with a status of" not in entry["message"]]
        check("the console has no errors and no policy violations", not log, json.dumps(log[:5]))
    finally:
        driver.quit()
    print(f"{failures} failed" if failures else "all hold")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
