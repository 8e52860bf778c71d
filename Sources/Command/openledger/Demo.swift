// The closed loop, played by four peers and checked step by step. Ada (0) holds the starter model and data and serves;
// Ben (1) makes a datanet and serves too; Cleo (2) adds rows to it; Dan (3) has nothing, asks and pays. Then whoever
// answered is killed. Each step is one line; a step that does not hold names what was expected.

import Foundation
import Primitives

final class Demo: @unchecked Sendable {
    // Steps run one after the other on the task of the command; nothing here is touched by two at once.
    private let devnet: Devnet
    private let output: Output
    private let began = Date()
    private var step = "start"
    private var stepBegan = Date()
    private var steps = 0
    private(set) var holds = false

    private let datanet = "demo"
    private let ada = 0
    private let ben = 1
    private let cleo = 2
    private let dan = 3

    init(devnet: Devnet, output: Output) {
        self.devnet = devnet
        self.output = output
    }

    struct Broken: Error {
        let message: String
    }

    // MARK: The play

    func play() async throws {
        try await peersReady()
        let rows = try await createDatanet()
        try await extendDatanet(rows)
        try await pullShards(rows)
        let model = try await pullModel()
        let before = try await balances(name: "balances before")
        let first = try await ask(rows.question, model: model, step: "answered by a neighbour")
        let batch = try await settled(first.receipt)
        try await conserved(before: before, receipt: first.receipt)
        try await verifyOffline(first.receipt)
        try await audit(first)
        try await weigh(first)
        let victim = try await killOne(servedBy: first.servedBy)
        let second = try await ask(rows.question, model: model, step: "answered after the loss", not: victim)
        let next = try await settled(second.receipt)
        begin("chain went on")
        try expect(next > batch, "the second receipt's batch \(next) comes after batch \(batch)")
        pass(["batch": .integer(next)])
        try await conserved(before: before, receipt: second.receipt)
    }

    /// SIGTERM: every peer left drains and exits 0.
    func stop() async {
        begin("peers drained")
        let codes = await devnet.stop()
        if let bad = codes.first(where: { $0.value != 0 }) {
            return broke(Broken(message: "peer \(bad.key) ended with \(bad.value); see \(devnet.log(bad.key))"))
        }
        pass(["peers": .integer(codes.count)])
        holds = true
        let seconds = Date().timeIntervalSince(began)
        output.event(
            .object([
                "event": .string("done"), "ok": .bool(true), "steps": .integer(steps), "seconds": Self.seconds(seconds),
            ])
        ) { "All \(steps) steps hold, in \(oneDecimal(seconds)) s." }
    }

    // MARK: The steps

    private func peersReady() async throws {
        begin("peers ready")
        try await devnet.start()
        let statuses = try await devnet.waitUntilReady(connections: devnet.plan.members.count - 1)
        for status in statuses {
            try expect(
                status["network"]?["genesis"]?.text == devnet.plan.genesis,
                "every peer is on genesis \(devnet.plan.genesis)")
        }
        pass(["peers": .strings(devnet.plan.members.map(\.peer)), "genesis": .string(devnet.plan.genesis)])
    }

    struct Rows {
        let created: [UInt8]
        let added: [UInt8]
        let count: Int
        let question: String
        var id = ""
    }

    private func createDatanet() async throws -> Rows {
        begin("datanet created")
        let source = try await call(ada) { try await $0.get("datanets") }.list("datanets").first {
            $0.shown("held") == "full"
        }
        guard let name = source?["name"]?.text else { throw Broken(message: "peer 0 holds no starter datanet") }
        let page = try await call(ada) { try await $0.get(APIClient.path("datanets", name) + "/rows", ["limit": "60"]) }
        let lines = page.list("rows").map { row in
            JSONValue.present([
                "prompt": row["prompt"], "completion": row["completion"], "source": row["source"],
                "license": row["license"],
            ]).serialized() + [0x0a]
        }
        try expect(lines.count >= 8, "the starter datanet \(name) has rows to begin with")
        guard let prompt = page.list("rows").last?["prompt"]?.text else {
            throw Broken(message: "a starter row has no prompt")
        }
        let half = lines.count / 2
        var rows = Rows(
            created: lines[..<half].flatMap(\.self), added: lines[half...].flatMap(\.self), count: lines.count,
            question: prompt)
        let datanet = datanet
        let made = try await call(ben) {
            try await $0.post(
                "datanets",
                .object([
                    "name": .string(datanet), "summary": .string("Rows of two contributors"),
                    "tags": .strings(["demo"]), "license": .string("WordNet"), "access": .string("open"),
                ]))
        }
        rows.id = made.shown("id")
        let created = rows.created
        let added = try await call(ben) {
            try await $0.upload(
                APIClient.path("datanets", datanet) + "/rows", ["file": "created.jsonl"], type: "application/x-ndjson",
                created)
        }
        try expect(added["rows"]?.integer == half, "\(half) rows were taken; the answer is \(added.serializedText)")
        pass(["datanet": .string(rows.id), "rows": .integer(half), "by": .string(devnet.plan.members[ben].peer)])
        return rows
    }

    private func extendDatanet(_ rows: Rows) async throws {
        begin("datanet extended")
        try await pull(cleo, "datanets", rows.id, key: "datanet")
        let added = rows.added
        _ = try await call(cleo) {
            try await $0.upload(
                APIClient.path("datanets", rows.id) + "/rows", ["file": "added.jsonl"], type: "application/x-ndjson",
                added)
        }
        // The owner hears of the contribution by gossip and takes it in.
        let seen = try await until(ben, "the owner sees \(rows.count) rows of two contributors") {
            let value = try await $0.get(APIClient.path("datanets", rows.id))
            return value["rows"]?.integer == rows.count && value.list("contributors").count == 2 ? value : nil
        }
        let ppm = seen.list("contributors").reduce(0) { $0 + ($1["ppm"]?.integer ?? 0) }
        try expect(ppm == 1_000_000, "the contributors' shares add up to 1000000 ppm; they are \(ppm)")
        pass([
            "rows": .integer(rows.count), "by": .string(devnet.plan.members[cleo].peer),
            "snapshot": seen["snapshot"] ?? .null,
        ])
    }

    private func pullShards(_ rows: Rows) async throws {
        begin("shards pulled and verified")
        try await pull(dan, "datanets", rows.id, key: "datanet")
        // Ada holds it too, so that two peers can answer from it and one of them may die.
        try await pull(ada, "datanets", rows.id, key: "datanet")
        let held = try await until(dan, "the puller holds all \(rows.count) rows") {
            let value = try await $0.get(APIClient.path("datanets", rows.id))
            return value["held"]?.text == "full" && value["rows"]?.integer == rows.count ? value : nil
        }
        let original = try await export(ben, rows.id)
        let copy = try await export(dan, rows.id)
        try expect(original == copy, "the pulled rows equal the owner's")
        pass(["snapshot": held["snapshot"] ?? .null, "rows": .integer(copy.count), "bytes": held["bytes"] ?? .null])
    }

    private func pullModel() async throws -> String {
        begin("model and adapter pulled")
        guard let model = try await call(ada, { try await $0.get("models") }).list("models").first else {
            throw Broken(message: "peer 0 has no starter model")
        }
        guard let adapter = try await call(ada, { try await $0.get("adapters") }).list("adapters").first else {
            throw Broken(message: "peer 0 has no starter adapter")
        }
        try await pull(ben, "models", model.shown("id"), key: "model")
        try await pull(ben, "adapters", adapter.shown("id"), key: "adapter")
        for (kind, object) in [("models", model), ("adapters", adapter)] {
            let id = object.shown("id")
            let held = try await call(ben) { try await $0.get(APIClient.path(kind, id)) }
            try expect(held["held"]?.text == "full" && held["id"] == object["id"], "peer 1 holds \(id) completely")
        }
        pass([
            "model": model["id"] ?? .null, "adapter": adapter["id"] ?? .null,
            "by": .string(devnet.plan.members[ben].peer),
        ])
        return "\(model.shown("name")):\(adapter.shown("name"))"
    }

    /// What must not change: the parts of the supply add up to the genesis.
    private func balances(name: String) async throws -> JSONValue {
        begin(name)
        let empty = try await call(dan) { try await $0.get("accounts/me") }["balance"]?.amount("free") ?? .zero
        _ = try await call(dan) { try await $0.post("faucet") }
        let account = try await until(dan, "the faucet's OPEN arrives") {
            let value = try await $0.get("accounts/me")
            return (value["balance"]?.amount("free") ?? .zero) > empty ? value : nil
        }
        let supply = try await supply()
        pass(["payer": account["balance"] ?? .null, "supply": supply])
        return account
    }

    struct Answer {
        let receipt: String
        let servedBy: String
    }

    private func ask(_ question: String, model: String, step: String, not gone: String? = nil) async throws -> Answer {
        begin(step)
        let heard = Heard()
        let body = JSONValue.object([
            "prompt": .string(question), "model": .string(model), "datanet": .string(datanet),
            "max_tokens": .integer(32),
            "temperature": .integer(0),
        ])
        try await call(dan) { try await $0.stream("ask", body) { heard.take($0) } }
        let served = heard.servedBy
        try expect(served["local"]?.flag == false, "a neighbour answers; served by \(served.serializedText)")
        try expect(served["peer"]?.text != gone, "another than the dead peer answers")
        try expect(!heard.text.isEmpty, "the answer has text")
        let ppm = heard.sources.reduce(0) { $0 + ($1["ppm"]?.integer ?? 0) }
        try expect(
            !heard.sources.isEmpty && ppm == 1_000_000, "the sources' weights add up to 1000000 ppm; they are \(ppm)")
        let contributors = [devnet.plan.members[ben].peer, devnet.plan.members[cleo].peer]
        for source in heard.sources {
            try expect(
                contributors.contains(source.shown("contributor")), "each source names one of the two contributors")
        }
        guard let receipt = heard.receipt["id"]?.text else { throw Broken(message: "the answer has no receipt") }
        pass([
            "question": .string(question), "answer": .string(heard.text), "model": .string(model),
            "served_by": served["peer"] ?? .null, "sources": .array(heard.sources), "receipt": .string(receipt),
            "cost": heard.receipt["cost"] ?? .null,
        ])
        return Answer(receipt: receipt, servedBy: served.shown("peer"))
    }

    private func settled(_ receipt: String) async throws -> Int {
        begin("receipt in a certified batch")
        let shown = try await until(dan, "receipt \(receipt) is in a batch") {
            let value = try await $0.get(APIClient.path("receipts", receipt))
            if value["state"]?.text == "refused" {
                throw Broken(message: "the receipt was refused: \(value.shown("refusal"))")
            }
            return value["state"]?.text == "batched" ? value : nil
        }
        guard let height = shown["batch"]?.integer else {
            throw Broken(message: "a batched receipt has no batch number")
        }
        let batch = try await call(dan) { try await $0.get("batches/\(height)") }
        let certificate = batch["certificate"] ?? .null
        let seats = certificate["seats"]?.integer ?? 0
        let all = certificate["of"]?.integer ?? .max
        try expect(batch.list("receipt_ids").contains(.string(receipt)), "batch \(height) lists receipt \(receipt)")
        try expect(seats * 3 > all * 2, "more than two thirds of the seats signed; \(seats) of \(all) did")
        pass([
            "receipt": .string(receipt), "batch": .integer(height), "header": batch["header"] ?? .null,
            "certificate": certificate,
        ])
        return height
    }

    private func conserved(before: JSONValue, receipt: String) async throws {
        begin("money conserved")
        let after = try await call(dan) { try await $0.get("accounts/me") }
        let shown = try await call(dan) { try await $0.get(APIClient.path("receipts", receipt)) }
        guard let cost = shown.amount("cost"), cost > .zero else {
            throw Broken(message: "the receipt has a cost above zero")
        }
        let shares = try (shown["shares"]?.memberList ?? []).reduce(Amount.zero) { sum, share in
            guard let amount = share.value.text.flatMap({ Amount(text: $0) }) else {
                throw Broken(message: "share \(share.key) is an amount")
            }
            return try sum.adding(amount)
        }
        try expect(shares == cost, "the shares add up to the cost; \(shares.text) and \(cost.text)")
        let spent = try Self.total(before).subtracting(try Self.total(after))
        try expect(spent >= cost, "the payer is poorer by at least the cost; \(spent.text) and \(cost.text)")
        let supply = try await supply()
        pass([
            "payer": after["balance"] ?? .null, "cost": .string(cost.text), "shares": shown["shares"] ?? .null,
            "supply": supply,
        ])
    }

    private func verifyOffline(_ receipt: String) async throws {
        begin("receipt verified offline")
        let file = "\(devnet.plan.members[dan].home)/demo.bundle"
        let damaged = "\(devnet.plan.members[dan].home)/damaged.bundle"
        var bundle = try await call(dan) { try await $0.download(APIClient.path("receipts", receipt) + "/bundle") }
        try writeFile(file, bundle, overwrite: true)
        let size = bundle.count
        bundle[size / 2] ^= 1
        try writeFile(damaged, bundle, overwrite: true)
        let good = try Self.runSelf(["receipt", "verify", file, "--json"])
        try expect(good.code == 0, "the bundle verifies; exit code \(good.code): \(good.text)")
        let bad = try Self.runSelf(["receipt", "verify", damaged, "--json"])
        try expect(bad.code == 4, "a bundle with one flipped bit is refused; exit code \(bad.code)")
        pass([
            "receipt": .string(receipt), "bytes": .integer(size), "verdict": (try? JSONValue.parse(good.text)) ?? .null,
        ])
    }

    /// Whoever of Ada and Ben did not answer repeats the answer.
    private func audit(_ answer: Answer) async throws {
        begin("answer re-executed by another neighbour")
        let value = try await call(dan) { try await $0.post(APIClient.path("receipts", answer.receipt) + "/audit") }
        let audit = value["audit"] ?? .null
        try expect(audit["outcome"]?.text == "same", "the same answer; \(value.serializedText)")
        try expect(value["holds"]?.flag == true, "every check of the audit holds; \(value.serializedText)")
        try expect(
            audit["own"]?.flag == false && audit["auditor"]?.text != value["server"]?.text,
            "neither payer nor server is the auditor")
        try expect(audit["answer"] == value["signed_answer"], "both commit to the same tokens")
        pass([
            "receipt": .string(answer.receipt), "auditor": audit["auditor"] ?? .null,
            "answer": audit["answer"] ?? .null,
        ])
    }

    private func weigh(_ answer: Answer) async throws {
        begin("shares weighed again by another neighbour")
        let shown = try await call(dan) { try await $0.get(APIClient.path("receipts", answer.receipt)) }
        let kinds = shown.list("evidence_kinds").compactMap(\.text)
        // A computer that has no time for scorings names what it had time for.
        try expect(kinds.contains("spans"), "the receipt names the evidence of its shares; it names \(kinds)")
        let value = try await call(dan) {
            try await $0.post(
                APIClient.path("receipts", answer.receipt) + "/audit", .object(["attribution": .bool(true)]))
        }
        let audit = value["audit"] ?? .null
        try expect(audit["outcome"]?.text == "same", "the same shares; \(value.serializedText)")
        try expect(value["holds"]?.flag == true, "every check of the shares holds; \(value.serializedText)")
        try expect(
            audit["own"]?.flag == false && audit["auditor"]?.text != value["server"]?.text,
            "neither payer nor server is the auditor")
        pass([
            "receipt": .string(answer.receipt), "auditor": audit["auditor"] ?? .null,
            "kinds": .array(kinds.map(JSONValue.string)), "rows": value["signed_rows"] ?? .null,
        ])
    }

    private func killOne(servedBy peer: String) async throws -> String {
        begin("a peer killed")
        guard let index = devnet.plan.members.firstIndex(where: { $0.peer == peer }) else {
            throw Broken(message: "the answer came from \(peer), which is none of the demo's peers")
        }
        await devnet.kill(index)
        pass(["peer": .string(peer), "signal": .string("SIGKILL")])
        return peer
    }

    // MARK: Tools

    private func supply() async throws -> JSONValue {
        let supply = try await call(dan) { try await $0.get("supply") }
        let parts = ["free", "locked", "staked", "treasury", "bridged", "burned"]
        let sum = try parts.reduce(Amount.zero) { try $0.adding(supply.amount($1) ?? .zero) }
        try expect(
            sum == supply.amount("genesis"), "the parts of the supply add up to the genesis; \(supply.serializedText)")
        return supply
    }

    private static func total(_ account: JSONValue) throws -> Amount {
        let balance = account["balance"] ?? .null
        return try ["free", "locked", "staked", "unbonding", "claimable"].reduce(Amount.zero) {
            try $0.adding(balance.amount($1) ?? .zero)
        }
    }

    private func call<T: Sendable>(_ index: Int, _ body: @Sendable (APIClient) async throws -> T) async throws -> T {
        try await Connection.withClient(devnet.socket(index), body)
    }

    private func until<T: Sendable>(
        _ index: Int, _ what: String, within seconds: Double = 30,
        _ ask: @escaping @Sendable (APIClient) async throws -> T?
    ) async throws -> T {
        let socket = devnet.socket(index)
        return try await eventually(within: seconds, what) { try await Connection.withClient(socket, ask) }
    }

    /// Waits until the peer has heard of it, then pulls it.
    private func pull(_ index: Int, _ kind: String, _ id: String, key: String) async throws {
        let path = APIClient.path(kind, id)
        let known = try await until(index, "peer \(index) hears of \(key) \(id)") { try await $0.get(path) }
        guard known["held"]?.text != "full" else { return }
        try await call(index) { try await $0.stream(path + "/pull", .members([])) { _ in } }
    }

    private func export(_ index: Int, _ id: String) async throws -> [[UInt8]] {
        let lines = Collected()
        try await call(index) { try await $0.rows(APIClient.path("datanets", id) + "/export") { lines.add($0) } }
        return lines.sorted
    }

    static func runSelf(_ arguments: [String]) throws -> (code: Int32, text: String) {
        guard let binary = Bundle.main.executablePath else {
            throw Broken(message: "this program cannot find its own file")
        }
        let process = Process()
        let out = Pipe()
        process.executableURL = URL(fileURLWithPath: binary)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = out
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = try out.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }

    private func begin(_ name: String) {
        step = name
        stepBegan = Date()
    }

    private func expect(_ condition: Bool, _ what: String) throws {
        guard condition else { throw Broken(message: "expected: \(what)") }
    }

    private static func seconds(_ value: Double) -> JSONValue { .double((value * 1000).rounded() / 1000) }

    private func pass(_ members: KeyValuePairs<String, JSONValue>) {
        steps += 1
        let seconds = Date().timeIntervalSince(stepBegan)
        let head = [
            JSONMember("event", .string("step")), JSONMember("step", .string(step)), JSONMember("ok", .bool(true)),
            JSONMember("seconds", Self.seconds(seconds)),
        ]
        let step = step
        output.event(.members(head + members.map { JSONMember($0.key, $0.value) })) {
            let facts = members.compactMap { pair in
                (pair.value.text ?? pair.value.integer.map(String.init)).map { "\(pair.key) \($0)" }
            }
            return "ok  \(step) (\(oneDecimal(seconds)) s)\(facts.isEmpty ? "" : ": ")\(facts.joined(separator: ", "))"
        }
    }

    func broke(_ error: any Error) {
        let message =
            switch error {
            case let fault as Broken: fault.message
            case let fault as Devnet.Failure: fault.message
            case let fault as CommandFault: fault.message
            default: "\(error)"
            }
        let event = JSONValue.object([
            "event": .string("step"), "step": .string(step), "ok": .bool(false), "reason": .string(message),
        ])
        let step = step
        output.event(event) { "FAILED  \(step): \(message)" }
    }
}

/// The events of one answer.
private final class Heard: @unchecked Sendable {
    // Filled by the stream and read after it has ended, by the same task.
    private(set) var text = ""
    private(set) var servedBy = JSONValue.null
    private(set) var sources: [JSONValue] = []
    private(set) var receipt = JSONValue.null

    func take(_ event: JSONValue) {
        switch event["event"]?.text {
        case "token": text += event["text"]?.text ?? ""
        case "served_by": servedBy = event
        case "sources": sources = event.list("sources")
        case "receipt": receipt = event["receipt"] ?? .null
        default: break
        }
    }
}

private final class Collected: @unchecked Sendable {
    // As `Heard`.
    private var lines: [[UInt8]] = []

    func add(_ line: [UInt8]) { lines.append(line) }
    var sorted: [[UInt8]] { lines.sorted { $0.lexicographicallyPrecedes($1) } }
}
