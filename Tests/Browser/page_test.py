"""The web page of a peer, in headless Chromium.

    python page_test.py URL --token FILE [--fake] [--shots DIR]

URL is a peer's, as in http://127.0.0.1:8547, and FILE its home's token. The peer should be a fresh one that holds the starter
model and datanets: the test asks, creates a datanet, contributes to it and transfers. With --fake the peer is the fake one of
Tests/GatewayTests (ServeFakeNode). --shots writes a screenshot of each page, desktop and phone, light and dark. Needs
`pip install selenium`, chromium and chromium-driver. Exits 1 if a check failed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import Select, WebDriverWait

PAGES = ["/", "/chat", "/datanets", "/factory", "/adapters", "/earnings", "/receipts", "/network", "/chain"]
ROWS = """{"prompt":"What is mead?","completion":"mead (noun): <script>alert(1)</script>"}
{"prompt":"What is kvass?","completion":"kvass (noun): a drink of rye bread."}
"""
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

    def press(self, selector):
        """Clicks; again where the page was filled anew between finding and clicking."""
        def click(_):
            try:
                found = self.all(selector)
                return bool(found) and (found[0].click() or True)
            except StaleElementReferenceException:
                return False
        self.wait(click)

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

    def ready(self):
        self.wait(lambda d: d.execute_script("return document.documentElement.dataset.ready") == "true", 30)

    def session(self, word):
        """Whether the session's button comes to say `word`: Lock while the page is unlocked, else Unlock."""
        try:
            return self.wait(lambda d: d.find_element(By.ID, "session").text == word)
        except Exception:
            return False

    def ask_peer(self, path, token=None, body=None):
        request = urllib.request.Request(self.base + path, data=body)
        if token:
            request.add_header("Authorization", "Bearer " + token)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

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

# What sticks out of its card, which the width of the document does not show.
STICKS_OUT = """
return [...document.querySelectorAll('.card *, .bar *, .top nav *')].filter((e) => e.checkVisibility() && !e.closest('pre, .drop'))
  .filter((e) => e.getBoundingClientRect().right > Math.min(innerWidth, (e.closest('.card') ?? document.body).getBoundingClientRect().right) + 1)
  .map((e) => `${e.tagName}.${e.className} "${e.textContent.trim().slice(0, 30)}"`);
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
                out = page.driver.execute_script(STICKS_OUT)
                check(f"{name}: nothing sticks out of its card", not out, out)
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
    Select(page.one("select[name=datanet]")).select_by_visible_text("food")
    adapters = Select(page.one("select[name=adapter]"))
    question.send_keys("Define brisket.")
    question.send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda d: page.all(".answer.busy"))
    page.wait(lambda d: page.all(".answer") and page.all(".answer")[0].text)
    page.wait(lambda d: not page.all(".answer.busy"), 90)
    answer = page.one(".answer").text
    check("an answer was streamed", len(answer) > 3, page.text)
    check("the answer names its receipt and cost", "Receipt" in page.text and "Cost" in page.text, page.text)
    check("the answer names its sources", "Owed to" in page.text and "%" in page.text, page.text)
    if is_fake:
        check("what rows say stays text", "<b>a soup</b>" in page.text, page.text)
        check("the adapter can be chosen", [o.text for o in adapters.options] == ["No adapter", "food"])
    link = page.one("article a[href^='#/receipts/']")
    receipt = link.get_attribute("href").split("#")[1]
    link.click()
    check("the receipt opens", page.has("Payer") and page.has("Contributors"), page.text)
    page.go("/chat")
    Select(page.one("select[name=datanet]")).select_by_visible_text("food")
    page.one("textarea[name=prompt]").send_keys("Xyzzy plugh?", Keys.CONTROL, Keys.ENTER)
    page.wait(lambda d: page.all(".answer") and not page.all(".answer.busy"), 90)
    time.sleep(0.3)
    said = any(text in page.text for text in ("Owed to", "No row of food fits", "No row stands out"))
    check("an answer says whether rows were found", said, page.text)
    return receipt


def compare(page, is_fake):
    """Base, adapter and fusion side by side, each with its speed, cost and receipt."""
    page.go("/chat")
    check("alone there is nothing to compare", not page.one("input[name=base]").is_displayed())
    Select(page.one("select[name=adapter]")).select_by_visible_text("food")
    Select(page.one("select[name=fusion]")).select_by_visible_text("kitchen")
    page.one("input[name=base]").click()
    tokens = page.one("input[name=max_tokens]")
    tokens.send_keys("12")
    page.one("textarea[name=prompt]").send_keys("Define femur.")
    check("the cost is estimated before", page.wait(lambda d: "Estimated cost" in page.one("#estimate").text), page.text)
    check("for each of the answers", "3 whole answers" in page.one("#estimate").text, page.one("#estimate").text)
    page.one("textarea[name=prompt]").send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda d: len(page.all(".column")) == 3 and not page.one("#turns[aria-busy=false]") is None, 120)
    page.wait(lambda d: not page.all(".answer.busy") and page.has("All together", 90), 120)
    names = [c.get_attribute("aria-label") for c in page.all(".column")]
    check("base, adapter and fusion answer", names == ["starter", "starter:food", "starter:kitchen"], names)
    for column, name in zip(page.all(".column"), names):
        check(f"{name} says its cost, its speed and its receipt",
              all(word in column.text for word in ("Cost", "tokens/s", "Receipt")), column.text)


def manage(page, is_fake):
    """Adapters: what is in memory, pins, a fusion made with sliders."""
    page.go("/adapters")
    check("the adapters are listed", page.has("food") and page.has("rank"), page.text)
    if not is_fake:
        page.press("main button[aria-label='Pin food']")
        check("an adapter is pinned", page.has("pinned") and page.has("in memory"), page.text)
        page.press("main button[aria-label='Unpin food']")
        check("and unpinned", page.wait(lambda d: page.all("main button[aria-label='Pin food']")))
        page.press("main button[aria-label='Unload food']")
        check("and unloaded", page.wait(lambda d: page.all("main button[aria-label='Load food']")), page.text)
    page.one("input[name=fusion-name]").send_keys("kitchen")
    for name, weight in [("food", "0.7")] + ([] if is_fake else [("anatomy", "-0.3")]):
        number = page.one(f"input[type=number][aria-label='Weight of {name}']")
        number.clear()
        number.send_keys(weight)
        check(f"a weight chooses {name}", page.one(f"input[name='part-{name}']").is_selected())
        slider = page.one(f"input[type=range][aria-label='Weight of {name}, slider']")
        check(f"the slider of {name} follows", abs(float(slider.get_attribute("value")) - float(weight)) < 0.051, slider.get_attribute("value"))
    page.button("Make fusion").click()
    check("a fusion is made", page.has("starter:kitchen can be asked for"), page.text)
    check("and shown with its weights", page.has("0.7") and page.has("-0.3"), page.text)


def stop_an_answer(page):
    page.go("/chat")
    question = page.one("textarea[name=prompt]")
    question.send_keys("Define gumbo.")
    page.button("Ask").click()
    page.button("Stop").click()
    check("an answer can be stopped", page.has("Stopped"), page.text)


def bundle(page, receipt, is_fake):
    """The bytes of a receipt's bundle, as soon as a batch holds it."""
    if is_fake:
        return b"\xa1\x61\x61\x01"
    for _ in range(60):
        if json.loads(page.ask_peer("/api/v1" + receipt))["state"] == "batched":
            return page.ask_peer("/api/v1" + receipt + "/bundle")
        time.sleep(0.5)
    raise TimeoutError(f"{receipt} is in no batch")


def verify(page, receipt, is_fake):
    good = bundle(page, receipt, is_fake)
    forged = b"\xa1\x61\x61\x02" if is_fake else good[:-1] + bytes([good[-1] ^ 1])  # the last byte of a signature
    page.go("/receipts")
    with tempfile.TemporaryDirectory() as folder:
        for name, content, expected in [("good.olr", good, "Valid."), ("forged.olr", forged, "Not valid."),
                                        ("holiday.jpg", b"\xff\xd8\xff", "no receipt bundle")]:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(content)
            page.driver.find_element(By.ID, "bundle-file").send_keys(path)
            check(f"{name}: {expected}", page.has(expected), page.text)
            if expected.endswith("alid."):
                check(f"{name}: a verdict per check is shown", len(page.all("#verdict .checks li")) >= 3, page.text)
            check(f"{name}: the verdict is nothing but this one", len(page.all("#verdict > [role]")) == 1, page.text)
    page.go(receipt)
    if not is_fake:
        page.button("Check its proof").click()
        check("a receipt's own proof is checked", page.has("Valid."), page.text)


def contribute(page, is_fake):
    page.go("/datanets")
    page.one("details summary").click()
    datanet = "drinks" if is_fake else f"drinks-{os.getpid()}"
    page.one("input[name=name]").send_keys(datanet)
    page.one("input[name=license]").send_keys("CC0")
    page.button("Create datanet").click()
    check("a datanet is created and opened", page.has("Contribute rows") and page.has("drinks"), page.text)
    with tempfile.TemporaryDirectory() as folder:
        files = [("bad.jsonl", '{"prompt":"a"}\n{!}\n', ["bad.jsonl:2:"]), ("good.jsonl", ROWS, ["2 rows are good"])]
        if not is_fake:
            csv = 'prompt,completion\nWhat is ale?,\nWhat is rum?,a "spirit"\nWhat is gin?,a spirit\n'
            book = "# Drinks\n\nAle is brewed.\n\n## Spirits\n\nGin is distilled.\n\n# Again\n\nGin is distilled.\n"
            files[:0] = [("bad.csv", csv, ["bad.csv:2:", "bad.csv:3: column 16"]),
                         ("book.md", book, ["3 rows are good", "Drinks > Spirits", "book.md line 7"])]
        for name, content, expected in files:
            path = os.path.join(folder, name)
            with open(path, "w") as file:
                file.write(content)
            page.one("input[type=file]").send_keys(path)
            for words in expected:
                check(f"{name} is checked before it is sent: {words}", page.has(words), page.text)
            check(f"{name}: sending is {'off' if name.startswith('bad') else 'on'}",
                  page.button("Contribute").is_enabled() == (not name.startswith("bad")))
        page.button("Contribute").click()
        check("rows are contributed", page.has("2 rows are in the datanet"), page.text)
        if not is_fake:
            page.one("input[type=file]").send_keys(path)
            check("what is in the datanet already is named", page.has("has this row already, as row 0"), page.text)
    page.go("/datanets")
    page.go("/datanets/food" if is_fake else f"/datanets/{datanet}")
    check("markup in rows stays text", page.has("<script>alert(1)</script>"), page.text)
    page.go("/datanets/food")
    check("a datanet says how well others keep it", page.has("Kept by other peers"), page.text)
    if is_fake:
        check("an owner sees what stands out in rows that wait", page.has("Other label") and page.has('"<b>no</b>" here'), page.text)
    rows = len(page.wait(lambda d: page.all("table[aria-label=Rows] tbody tr")))
    page.button("Show more").click()
    check("the preview goes on", page.wait(lambda d: len(page.all("table[aria-label=Rows] tbody tr")) > rows), page.text)


def pay(page, is_fake):
    page.go("/chain")
    check("batches, committee and account are shown", all(page.has(t) for t in ["Batches", "Committee", "Account"]), page.text)
    page.one("input[name=to]").send_keys("12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo")
    page.one("input[name=amount]").send_keys("5000000")
    page.button("Transfer").click()
    check("a transfer beyond the balance is refused in words", page.has("this account holds 99.5 OPEN" if is_fake else "does not cover it"), page.text)
    page.one("input[name=amount]").clear()
    page.one("input[name=amount]").send_keys("1.5")
    page.button("Transfer").click()
    check("a transfer is made", page.has("waits for the next batch" if is_fake else "Done, in batch"), page.text)
    if not is_fake:
        check("the history shows it", page.wait(lambda d: "1.5 OPEN" in page.one("table[aria-label=History]").text), page.text)


def unlock(page, token):
    """From the link that `openledger open` prints to a locked page and back: codes, tabs, the pasted token."""
    driver = page.driver
    link = json.loads(page.ask_peer("/api/v1/session/code", token, b"{}"))["url"]
    code = link.split("#")[1]
    driver.get(f"{page.base}/#{code}")
    page.ready()
    check("a link unlocks the page", page.session("Lock"))
    check("the code is gone from the address", "code=" not in driver.current_url, driver.current_url)
    check("home says the state in a sentence", page.one("#state-sentence").text != "", page.text)
    check("home shows the balance", page.wait(lambda d: "OPEN" in d.find_element(By.ID, "balance").text))

    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(page.base + "/")
    check("a second tab is given the session", page.session("Lock"))
    driver.switch_to.new_window("tab")
    driver.get(f"{page.base}/#{code}")
    check("the same link again is no fault while a tab is unlocked", page.session("Lock") and not page.all("main .fault"), page.text)
    driver.find_element(By.ID, "session").click()
    check("the page is locked", page.session("Unlock"))
    driver.close()
    driver.switch_to.window(driver.window_handles[1])
    check("and so is every tab", page.session("Unlock"))
    driver.close()
    driver.switch_to.window(first)
    page.go("/chat")
    driver.execute_script("location.hash = arguments[0]", code)
    check("a spent link is said so", page.has("was used already"), page.text)
    check("and its code is gone from the address", "code=" not in driver.current_url, driver.current_url)
    page.go("/network")
    check("and the message does not follow to the next page", "was used already" not in page.text, page.text)

    page.one("#session").click()
    secret = driver.find_element(By.ID, "unlock-secret")
    for wrong, expected in [("olt_" + "x" * 43, "not the token of this peer"), ("hello", "neither a code")]:
        secret.clear()
        secret.send_keys(wrong, Keys.ENTER)
        check(f"{wrong[:5]}… does not unlock", page.wait(lambda d: expected in d.find_element(By.ID, "unlock-fault").text))
    secret.clear()
    secret.send_keys(token, Keys.ENTER)
    check("the home's token unlocks", page.session("Lock"))
    kept = driver.execute_script("return Object.values(sessionStorage).join()")
    check("the home's token is not kept", token not in kept and kept.startswith("ols_"))


def walk_by_keyboard(page):
    """Tab from the top of Home: the skip link, then every link of the bar, each with a visible ring."""
    page.driver.get(page.base + "/")
    page.driver.refresh()
    page.ready()
    seen, bare = [], []
    for _ in range(14):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        name, ring = page.driver.execute_script("""const e = document.activeElement;
            return e === document.body ? [null, null] : [(e.getAttribute('aria-label') || e.textContent).trim(), getComputedStyle(e).outlineStyle];""")
        seen.append(name)
        bare += [name] if ring == "none" else []
    wanted = ["Skip to the content", "Lock", "Home", "Chat", "Datanets", "Factory", "Adapters", "Earnings", "Receipts", "Network", "Chain",
              "Ask a question"]
    check("Tab reaches every control in order", [n for n in seen if n in wanted][:len(wanted)] == wanted, seen)
    check("what has the focus shows it", not bare, bare)
    action = page.one(".next a")
    page.driver.execute_script("arguments[0].focus()", action)
    time.sleep(6)  # Home renews itself every 5 s
    focused = page.driver.execute_script("return document.activeElement.textContent")
    check("the focus survives what is renewed", focused == "Ask a question", focused)


def lose(page):
    """The peer goes away and comes back while Home is shown."""
    page.go("/")
    notice = page.driver.find_element(By.ID, "lost")
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **conditions})
    check("a peer that does not answer is said so", page.wait(lambda d: notice.is_displayed()))
    page.go("/chain")
    check("a page that cannot be shown says why", page.has("The peer does not answer"), page.text)
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **conditions})
    check("and is shown when it answers again", page.wait(lambda d: not notice.is_displayed(), 30) and page.has("Batches"), page.text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--fake", action="store_true")
    parser.add_argument("--token", required=True, help="file with the home's token")
    parser.add_argument("--shots")
    arguments = parser.parse_args()
    is_fake = arguments.fake
    with open(arguments.token) as file:
        token = file.read().strip()
    driver = start()
    try:
        page = Page(driver, arguments.url.split("#")[0].rstrip("/"))
        page.view(1280, 900, False)
        unlock(page, token)
        for path in PAGES:
            page.go(path)
            check(f"{path} shows no error", not page.all("main .fault[role=alert]"), page.text)
        page.go("/no-such-page")
        check("an unknown page says so", page.has("no such page"))
        walk_by_keyboard(page)
        receipt = converse(page, is_fake)
        manage(page, is_fake)
        compare(page, is_fake)
        if is_fake:  # the starter model answers faster than anyone stops it
            stop_an_answer(page)
        verify(page, receipt, is_fake)
        contribute(page, is_fake)
        pay(page, is_fake)
        page.paths = PAGES + [receipt, "/datanets/food", "/chain/128" if is_fake else "/chain/1"]
        driver.find_element(By.ID, "session").click()
        check("the page is locked in the end", page.session("Unlock"))
        page.go("/chat")
        page.one("textarea[name=prompt]").send_keys("x", Keys.CONTROL, Keys.ENTER)
        check("a locked page asks for the secret", page.wait(lambda d: d.find_element(By.ID, "unlock").get_attribute("open") is not None))
        driver.find_element(By.ID, "unlock-secret").send_keys(Keys.ESCAPE)
        check("what was typed is still there", page.one("textarea[name=prompt]").get_attribute("value") == "x")
        if arguments.shots:
            os.makedirs(arguments.shots, exist_ok=True)
        look(page, arguments.shots)
        log = [entry for entry in driver.get_log("browser")
               if entry["level"] == "SEVERE" and "the server responded with a status of" not in entry["message"]]
        check("the console has no errors and no policy violations", not log, json.dumps(log[:5]))
        lose(page)
    finally:
        driver.quit()
    print(f"{failures} failed" if failures else "all hold")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
