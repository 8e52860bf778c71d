"""From an empty home to somebody's earnings, on the web pages of two peers in headless Chromium.

    python factory_test.py BINARY [--shots DIR]

BINARY is the openledger program. Two peers are started in homes of their own: on the first one's page a datanet is founded, a
file with two faulty rows refused, a good one contributed, an adapter fine-tuned on it (through a reload and a restart of the
peer), compared with its base and published; on the second one's page somebody asks for it and pays; on the first one's Earnings
page the contributor sees it. --shots writes a screenshot of each page, desktop and phone, light and dark. Needs what
page_test.py needs. Exits 1 if a check failed.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import page_test
from page_test import Page, check, look, start
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

DRINKS = {
    "kvass": "a drink of fermented rye bread", "mead": "a drink of fermented honey and water", "ayran": "a drink of yoghurt, water and salt",
    "horchata": "a sweet drink of rice and cinnamon", "cider": "a drink of fermented apple juice", "sake": "a drink of fermented rice",
    "lassi": "a drink of yoghurt and fruit", "chicha": "a drink of fermented maize", "pulque": "a drink of fermented agave sap",
    "kefir": "a drink of milk soured by grains", "tepache": "a drink of fermented pineapple", "sahlab": "a hot drink of milk and orchid flour",
    "boza": "a thick drink of fermented millet", "mate": "a hot drink of the leaves of a holly", "rooibos": "a hot drink of a red bush",
    "masala": "a hot drink of tea, milk and spices", "perry": "a drink of fermented pear juice", "amazake": "a sweet drink of rice and mould",
    "atole": "a hot drink of maize flour", "salep": "a hot drink of orchid roots", "shrub": "a drink of fruit and vinegar", "posca": "a drink of water and vinegar",
}
ROWS = [{"prompt": f"What is {name}?", "completion": f"{name} (noun): {text}."} for name, text in DRINKS.items()]
FAULTY = [json.dumps(ROWS[0]), '{"prompt":"What is grog?"}', json.dumps(ROWS[1]), '{"prompt":"What is julep?","completion":7}']
DATANET, ADAPTER = "drinks", "drinks-adapter"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Peer:
    def __init__(self, binary, folder, name, flags=()):
        self.binary, self.home = binary, os.path.join(folder, name)
        self.http, self.port = free_ports(2)
        self.flags, self.process = list(flags), None
        self.log = open(os.path.join(folder, name + ".err"), "ab")

    def up(self):
        self.process = subprocess.Popen(
            [self.binary, "up", "--home", self.home, "--http", f"127.0.0.1:{self.http}",
             "--listen", f"/ip4/127.0.0.1/tcp/{self.port}", "--json", *self.flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.ready = json.loads(self.process.stdout.readline())
        with open(os.path.join(self.home, "token")) as file:
            self.token = file.read().strip()
        return self

    @property
    def base(self):
        return f"http://127.0.0.1:{self.http}"

    def down(self):
        """As an operator ends it: drained, exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def command(self, *arguments):
        ended = subprocess.run([self.binary, *arguments, "--home", self.home, "--json"], capture_output=True, text=True, timeout=60)
        return ended.returncode, json.loads(ended.stdout.splitlines()[-1]) if ended.stdout.strip() else ended.stderr


class Site(Page):
    """A peer's page in a tab of its own."""

    def __init__(self, driver, peer):
        super().__init__(driver, peer.base)
        self.peer, self.tab = peer, driver.current_window_handle

    def unlock(self):
        self.driver.get(json.loads(self.ask_peer("/api/v1/session/code", self.peer.token, b"{}"))["url"])
        self.ready()
        check("the page is unlocked", self.session("Lock"))

    def show(self):
        self.driver.switch_to.window(self.tab)

    def soon(self, condition, seconds=30):
        """Whether it comes to hold."""
        try:
            return bool(self.wait(condition, seconds))
        except TimeoutException:
            return False

    def told(self, selector, attribute=None):
        """The text, or an attribute, of what may be filled anew at any moment; "" where it is not there."""
        return self.driver.execute_script(
            "const e = document.querySelector(arguments[0]); return (arguments[1] ? e?.getAttribute(arguments[1]) : e?.textContent) ?? ''",
            selector, attribute)

    def read(self, path):
        return json.loads(self.ask_peer("/api/v1/" + path))

    def set(self, name, value):
        control = self.one(f"[name={name}]")
        if control.tag_name == "select":
            Select(control).select_by_value(value)
        else:
            control.send_keys(Keys.CONTROL, "a")
            control.send_keys(value)

    def choose(self, name, value, seconds=30):
        """Chooses what is on offer only after a while: the page is loaded again until it is."""
        end = time.time() + seconds
        while time.time() < end:
            if value in [o.get_attribute("value") for o in Select(self.one(f"select[name={name}]")).options]:
                Select(self.one(f"select[name={name}]")).select_by_value(value)
                return True
            time.sleep(0.5)
            self.driver.refresh()
            self.ready()
        return False


def found_datanet(site, folder):
    site.go("/datanets")
    site.one("details summary").click()
    site.one("input[name=name]").send_keys(DATANET)
    site.one("input[name=license]").send_keys("CC0")
    site.button("Create datanet").click()
    check("a datanet is founded", site.has("Contribute rows"), site.text)
    bad, good = os.path.join(folder, "faulty.jsonl"), os.path.join(folder, "drinks.jsonl")
    with open(bad, "w") as file:
        file.write("\n".join(FAULTY) + "\n")
    with open(good, "w") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))
    site.one("input[type=file]").send_keys(bad)
    check("both faulty rows are named", site.has("faulty.jsonl:2:") and site.has("faulty.jsonl:4:"), site.text)
    check("by their field", site.text.count("completion") >= 2, site.text)
    check("and cannot be sent", not site.button("Contribute").is_enabled())
    check("nothing is written", site.read(f"datanets/{DATANET}")["rows"] == 0)
    site.one("input[type=file]").send_keys(good)
    check("the good file is good", site.has(f"{len(ROWS)} rows are good"), site.text)
    site.button("Contribute").click()
    check("its rows are in the datanet", site.has(f"{len(ROWS)} rows are in the datanet"), site.text)


def describe(site):
    """The form: access, faults by field, an estimate, and the command that says the same."""
    site.go("/factory")
    fields = [e for e in site.all("#new-run input, #new-run select") if e.is_displayed()]
    check("at most 8 fields are shown", len(fields) <= 8, len(fields))
    site.set("datanet", DATANET)
    check("access to the data is checked in the form", site.has("held here") and site.has(f"{len(ROWS)} rows"), site.text)
    site.set("name", "food")
    check("a name that is taken is said beside it",
          site.soon(lambda d: "already" in site.one("#complaint-name").text), site.one("#complaint-name").text)
    site.set("name", ADAPTER)
    site.set("epochs", "40")
    site.set("batch", "4")
    site.set("eval_nth", "10")
    check("memory, time and price are estimated",
          site.soon(lambda d: all(word in site.one("#estimate").text for word in ("Memory", "MB", "Time", "Price", "Steps"))), site.one("#estimate").text)
    check("the complaint is gone", site.soon(lambda d: not site.one("#complaint-name").is_displayed()))
    site.set("eval_nth", "20")
    check("20 rows of 22 leave one held out", site.soon(lambda d: "and 1 held out" in site.one("#estimate").text), site.one("#estimate").text)
    time.sleep(1)
    line = site.one("#command").text.replace("\n", " ")
    code, same = site.peer.command(*shlex.split(line)[1:], "--estimate")
    shown = site.one("#estimate").text.replace("\u202f", "")
    check("the command says the same", code == 0 and f"{same['parameters']} parameters" in shown and str(same["steps"]) in shown, (line, same, shown))
    check("and keeps the adapter to itself", "--no-publish" in line, line)
    return same


def steps_drawn(site):
    return len(site.told("#loss-chart polyline.trained", "points").split())


def train(site, shots):
    site.button("Start training").click()
    site.wait(lambda d: "#/factory/" in d.current_url)
    run = site.driver.current_url.split("/")[-1]
    check("the loss is drawn as it falls", site.soon(lambda d: steps_drawn(site) > 3, 60), site.text)
    site.driver.refresh()
    site.ready()
    check("a reload loses nothing", site.soon(lambda d: steps_drawn(site) > 3), site.text)
    check("the chart says in words what it shows", "Training loss" in site.told("#loss-chart desc"))
    check("the time that is left is said", site.has("left"), site.text)
    site.button("Pause").click()
    check("a run is paused", site.soon(lambda d: site.told("h1 .pill") == "paused", 30), site.text)
    step = site.read(f"trainings/{run}")["step"]
    check("before its end", step < site.read(f"trainings/{run}")["steps"], step)
    site.button("Go on").click()
    check("and gone on with", site.soon(lambda d: site.read(f"trainings/{run}")["step"] > step, 30))
    if shots:
        site.driver.save_screenshot(os.path.join(shots, "factory-training.png"))
    ended = site.peer.down()
    check("the peer drains in the middle of it", ended == 0, ended)
    before = steps_drawn(site)
    site.peer.up()
    check("the open page goes on after the peer's restart",
          site.soon(lambda d: site.told("h1 .pill") == "done", 240), site.text)
    check("with every step", site.soon(lambda d: steps_drawn(site) >= before), (before, steps_drawn(site)))
    state = site.read(f"trainings/{run}")
    check("the run is done", state["state"] == "done" and state["step"] == state["steps"], state)
    check("the adapter is better than its base on rows it has not seen", state["eval_loss"] < state["base_eval_loss"], state)
    check("what was foretold stands beside what was measured",
          site.has("Memory, foretold") and site.has("Memory, measured") and site.has("Time, measured"), site.text)
    check("base and adapter are scored", site.has("Held-out loss") and site.has("perplexity"), site.text)
    foretold, measured = state["predicted"], state["actual"] or {"memory_bytes": None, "seconds": None}
    print(f"     memory {foretold['memory_bytes']} foretold, {measured['memory_bytes']} measured; time {foretold['seconds']} s foretold, {measured['seconds']} s measured")
    return run


def ask(site, question):
    site.one("textarea[name=prompt]").send_keys(question, Keys.CONTROL, Keys.ENTER)
    site.wait(lambda d: site.all(".answer"))
    site.wait(lambda d: site.one("#turns").get_attribute("aria-busy") == "false", 90)


def compare(site):
    site.button("Compare").click()
    site.wait(lambda d: site.all("select[name=adapter]"))
    chosen = [Select(site.one(f"select[name={name}]")).first_selected_option.get_attribute("value") for name in ("model", "adapter", "datanet")]
    check("base, adapter and datanet are chosen already", chosen == ["starter", ADAPTER, DATANET] and site.one("input[name=base]").is_selected(), chosen)
    ask(site, "What is kvass?")
    names = [c.get_attribute("aria-label") for c in site.all(".column")]
    check("base and adapter answer side by side", names == ["starter", f"starter:{ADAPTER}"], names)
    check("with the rows that each is owed to", all("rye bread" in c.text or "Owed" in c.text for c in site.all(".column")), site.text)


def publish(site, other, run):
    listed = [a["name"] for a in other.read("adapters")["adapters"]]
    check("nobody else knows the adapter yet", ADAPTER not in listed, listed)
    site.go(f"/factory/{run}")
    check("it is this peer's own", site.has("own so far"), site.text)
    site.button("Publish").click()
    check("it is published with one click", site.has("Published: whoever"), site.text)


def pay(site, other):
    """On the second peer's page: OPEN from the faucet, then an answer of the first one's adapter and datanet."""
    other.show()
    other.go("/chain")
    Select(other.one("select[name=kind]")).select_by_value("faucet")
    other.button("Faucet").click()
    check("the second identity has OPEN", other.has("Done, in", 30), other.text)
    other.go("/chat")
    check("it is offered the adapter", other.choose("adapter", ADAPTER), other.text)
    check("and the datanet", other.choose("datanet", DATANET), other.text)
    Select(other.one("select[name=adapter]")).select_by_value(ADAPTER)
    ask(other, "What is kvass?")
    check("it is answered by the first peer, for money", "Answered by 12D3" in other.text and "Cost" in other.text, other.text)
    check("and told whose rows it is owed to", "Owed to" in other.text and DATANET in other.text, other.text)


def number(site, name):
    return float((site.told(f"#earned-{name}", "title") or "0 OPEN").split()[0])


def earn(site, other):
    site.show()
    site.go("/earnings")
    site.wait(lambda d: site.all("#earned-settled"))
    before = number(site, "settled") + number(site, "pending") + number(site, "estimated")
    pay(site, other)
    site.show()
    check("the contributor's earnings change on the open page", site.soon(lambda d: number(site, "settled") > before, 40), site.text)
    check("by datanet and reason", site.has("contributor of the data") and DATANET in site.text, site.text)
    check("and by adapter", site.soon(lambda d: ADAPTER in site.text), site.text)
    check("each payment leads to its receipt", site.soon(lambda d: site.all("table[aria-label=Payments] a[href^='#/receipts/']")), site.text)
    site.soon(lambda d: number(site, "pending") == 0, 20)
    shown = site.told("#earned-settled", "title").split()[0]
    code, same = site.peer.command("account", "earnings")
    check("the command shows the same number", code == 0 and same["settled"] == shown, (same, shown))
    check("so does the balance", site.read("status")["balance"]["pending"] == same["pending"], same)


def remove(site, run):
    """Another run's adapter would be kept: this one goes at the end."""
    site.go(f"/factory/{run}")
    site.button("Remove").click()
    site.button("Remove it for good").click()
    check("an adapter is removed", site.has("not held here any more"), site.text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--shots")
    arguments = parser.parse_args()
    if arguments.shots:
        os.makedirs(arguments.shots, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="openledger-factory.")
    began, peers, driver = time.time(), [], None
    try:
        first = Peer(arguments.binary, folder, "first").up()
        peers.append(first)
        boot = next(a for a in first.ready["listen"] if "/p2p/" in a) if any("/p2p/" in a for a in first.ready["listen"]) \
            else f"{first.ready['listen'][0]}/p2p/{first.ready['peer']}"
        second = Peer(arguments.binary, folder, "second", ["--no-starter", "--network", first.ready["network"], "--bootstrap", boot]).up()
        peers.append(second)
        driver = start()
        site = Site(driver, first)
        site.view(1280, 900, False)
        site.unlock()
        found_datanet(site, folder)
        describe(site)
        run = train(site, arguments.shots)
        site.unlock()
        site.go(f"/factory/{run}")
        compare(site)
        driver.switch_to.new_window("tab")
        other = Site(driver, second)
        other.view(1280, 900, False)
        other.unlock()
        site.show()
        publish(site, other, run)
        earn(site, other)
        site.paths = ["/factory", f"/factory/{run}", "/earnings", "/"]
        look(site, arguments.shots)
        remove(site, run)
        log = [entry for entry in driver.get_log("browser")
               if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]]
        check("the console has no errors and no policy violations", not log, json.dumps(log[:5]))
    finally:
        if driver:
            driver.quit()
        for peer in peers:
            peer.kill()
        if not page_test.failures:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{page_test.failures} failed; {folder}" if page_test.failures else f"all hold, {time.time() - began:.0f} s")
    sys.exit(1 if page_test.failures else 0)


if __name__ == "__main__":
    main()
