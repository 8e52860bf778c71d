// What a run is said to take, and what it takes; adapters that are not told of; what an account earns.

import Arithmetic
import Foundation
import Gateway
import Ledger
import Logging
import NodeCore
import Primitives
import Records
import Storage
import Testing
import Training

@testable import Peer

@Suite struct TrainingSpeedTests {
    private func base(_ number: UInt8) -> CID { CID(.raw, hashing: [number]) }
    private func speed(_ steps: Double, weights: Double = 1e6) -> TrainingSpeed {
        TrainingSpeed(weights: weights, steps: steps, evaluation: nil, influence: nil, begin: 2)
    }

    @Test func theNewestFigureOfABaseAndPrecisionCounts() {
        var speeds = TrainingSpeeds()
        let guess = speeds.speed(base(1), .f32, weights: 1e6, threads: 2)
        #expect(!guess.isMeasured && guess.speed.steps == 2 * TrainingSpeed.operationsPerThread / 4e6)
        speeds.learn(base(1), .f32, speed(500))
        speeds.learn(base(1), .f32, speed(700))
        let known = speeds.speed(base(1), .f32, weights: 1e6, threads: 2)
        #expect(known.isMeasured && known.speed.steps == 700)
        // Another precision, or another base, is told by the number of weights.
        let other = speeds.speed(base(2), .f32, weights: 2e6, threads: 2)
        #expect(!other.isMeasured && other.speed.steps == 350 && other.speed.begin == 4)
        #expect(!speeds.speed(base(1), .int8, weights: 1e6, threads: 2).isMeasured)
    }

    @Test func whatWasMeasuredOnceIsKeptWhereARunDidNotComeToIt() {
        var speeds = TrainingSpeeds(), whole = speed(500)
        (whole.evaluation, whole.influence) = (900, 400)
        speeds.learn(base(1), .f32, whole)
        speeds.learn(base(1), .f32, speed(600))
        let known = speeds.speed(base(1), .f32, weights: 1e6, threads: 1).speed
        #expect(known.steps == 600 && known.evaluation == 900 && known.influence == 400)
        #expect(known.seconds(of: TrainingWork(steps: 1200, evaluation: 1800, influence: 400)) == 2 + 2 + 2 + 1)
    }

    @Test func theBookIsBoundedAndSurvivesDamage() throws {
        var speeds = TrainingSpeeds()
        for number in 0..<40 { speeds.learn(base(UInt8(number)), .f32, speed(Double(number + 1))) }
        #expect(speeds.known.count == TrainingDeskLimit.speedsMax)
        #expect(!speeds.speed(base(0), .f32, weights: 1e6, threads: 1).isMeasured)
        #expect(TrainingSpeeds(speeds.json) == speeds)
        let path = NSTemporaryDirectory() + "speeds-\(UInt32.random(in: 0 ... .max)).json"
        defer { unlink(path) }
        TrainingSpeedBook(path: path).learn(base(7), .f32, speed(70))
        #expect(TrainingSpeedBook(path: path).speed(base(7), .f32, weights: 1, threads: 1).speed.steps == 70)
        for damage in ["{", "[]", #"{"speeds":[{"base":"x","weights":1,"steps":-1,"begin":1},{"base":"y"}]}"#] {
            try Home.writeWhole(Array(damage.utf8), to: path)
            #expect(!TrainingSpeedBook(path: path).speed(base(7), .f32, weights: 1e6, threads: 1).isMeasured)
        }
    }

    @Test func rowsAreHeldOutByTheirPlace() {
        let lines = (1...7).map { #"{"text":"row \#($0)"}"# }
        var rows = WantedRows(
            trained: Array((lines.joined(separator: "\n\n") + "\n").utf8), heldOut: nil, snapshot: nil)
        rows.split(every: 3, file: nil)
        #expect(rows.heldOut == Array((lines[2] + "\n" + lines[5] + "\n").utf8))
        #expect(rows.trained == Array([0, 1, 3, 4, 6].map { lines[$0] + "\n" }.joined().utf8))
        var few = WantedRows(trained: Array(lines[0].utf8), heldOut: nil, snapshot: nil)
        few.split(every: 2, file: nil)
        #expect(few.splitFault?.param == "eval_nth" && few.heldOut == nil)
        // Faults name the lines of the file as it is.
        var faulty = WantedRows(
            trained: Array((lines[0] + "\n" + lines[1] + "\n{}\n").utf8), heldOut: nil, snapshot: nil)
        faulty.split(every: 2, file: "/somewhere/rows.jsonl")
        #expect(faulty.splitFault?.rows.first?.line == 3 && faulty.splitFault?.rows.first?.file == "rows.jsonl")
        #expect(faulty.heldOut == nil)
    }
}

@Suite(.serialized) struct TrainingEstimateTests {
    private static func with(
        flags: [String: String] = [:], _ body: (PeerService, RunningPeer, String) async throws -> Void
    ) async throws {
        let home = "\(FileManager.default.temporaryDirectory.path)/ole-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: home) }
        var options = PeerOptions(home: home, environment: [:])
        options.starterPath = Starter.folder
        options.flags = ["listen": "/ip4/127.0.0.1/tcp/0", "http": "127.0.0.1:0"].merging(flags) { $1 }
        let peer = try await RunningPeer.start(
            options, logger: Logger(label: "estimates") { _ in SwiftLogNoOpLogHandler() })
        do {
            try await body(PeerService(peer: peer), peer, home)
        } catch {
            await peer.stop()
            throw error
        }
        await peer.stop()
    }

    private static func wanted(_ home: String, rows: Int = 40) throws -> TrainingDescription {
        let path = "\(home)/rows.jsonl"
        let lines = (0..<rows).map { #"{"prompt":"What is \#($0)?","completion":"The number \#($0)."}"# }
        try Data(lines.joined(separator: "\n").utf8).write(to: URL(filePath: path))
        var wanted = TrainingDescription(name: "kitchen", model: "starter")
        (wanted.rows, wanted.rank, wanted.batch, wanted.steps, wanted.heldOutEvery) = (path, 2, 4, 5, 10)
        return wanted
    }

    private static func lines(_ service: PeerService, _ call: NodeStreamCall) async throws -> [JSONValue] {
        var lines: [JSONValue] = []
        for try await line in try await service.stream(call) { lines.append(line) }
        return lines
    }

    @Test func theEstimateIsWhatTheRunSays() async throws {
        try await Self.with { service, peer, home in
            var wanted = try Self.wanted(home)
            let estimate = try await service.perform(.estimateTraining(wanted))
            #expect(estimate["valid"]?.flag == true && estimate["faults"]?.items?.isEmpty == true)
            #expect(estimate["rows"]?.integer == 36 && estimate["eval_rows"]?.integer == 4)
            #expect(estimate["measured"]?.flag == false && estimate["price"]?.text == "0")
            #expect(peer.trainings.runs.isEmpty)
            let told = try await Self.lines(service, .train(wanted))
            let start = try #require(told.first), done = try #require(told.last)
            for key in ["rows", "row_tokens", "steps", "parameters", "rows_cut"] {
                #expect(start[key] == estimate[key], "\(key)")
            }
            #expect(start["predicted"]?["memory_bytes"] == estimate["memory_bytes"])
            #expect(start["predicted"]?["seconds"] == estimate["seconds"])
            let claimed = try #require(start["memory_bytes"]?.integer)
            #expect(claimed <= estimate["memory_bytes"]?.integer ?? 0 && claimed > 5_000_000)
            #expect(done["predicted"] == start["predicted"])
            #expect(done["actual"]?["seconds"]?.double ?? 0 > 0 && done["eval_loss"]?.double != nil)
            // What was foretold and measured stays with the run, after a restart too.
            let run = try await service.perform(.training(done["run"]?.text ?? ""))
            #expect(
                run["predicted"] == start["predicted"]
                    && run["actual"]?["memory_bytes"] == done["actual"]?["memory_bytes"])
            #expect(run["adapter"] == done["id"] && run["published"]?.flag == true)
            let folder = TrainingFolder(path: "\(home)/trainings/\(done["run"]?.text ?? "")")
            let kept = TrainingRun(id: "x", order: try #require(folder.order), folder: folder)
            #expect(
                kept.summary.predicted?.json == start["predicted"] && kept.summary.adapter?.text == done["id"]?.text)
            // The next one is told from what this one has shown, and rows held out are told apart in the manifest.
            wanted.seed = 9
            #expect(try await service.perform(.estimateTraining(wanted))["measured"]?.flag == true)
            #expect(run["settings"]?["eval_nth"]?.text == "10")
            #expect(FileManager.default.fileExists(atPath: peer.home.trainingSpeedsPath))
        }
    }

    @Test func everyFaultIsToldByItsField() async throws {
        try await Self.with { service, _, home in
            let good = try Self.wanted(home)
            func estimate(_ change: (inout TrainingDescription) -> Void) async throws -> JSONValue {
                var other = good
                change(&other)
                return try await service.perform(.estimateTraining(other))
            }
            func codes(_ value: JSONValue, _ key: String = "faults") -> [String] {
                (value[key]?.items ?? []).map { "\($0["param"]?.text ?? "-") \($0["code"]?.text ?? "-")" }
            }
            let many = try await estimate {
                $0.name = "a b"
                $0.model = "nobody"
                $0.rows = "\(home)/nothing"
            }
            #expect(codes(many) == ["name invalid_value", "model model_not_found", "rows not_readable"])
            #expect(many["memory_bytes"]?.isNull == true && many["valid"]?.flag == false)
            #expect(try await codes(estimate { $0.precision = "int3" }) == ["precision unsupported_value"])
            #expect(try await codes(estimate { $0.schedule = "linear" }) == ["schedule unsupported_value"])
            #expect(try await codes(estimate { $0.initial = home }) == ["init not_readable"])
            #expect(try await codes(estimate { $0.heldOutEvery = 100 }) == ["eval_nth out_of_range"])
            let unknown = try await estimate {
                $0.rows = nil
                $0.datanet = "nobody"
            }
            #expect(codes(unknown) == ["datanet datanet_not_found"])
            // Not a fault: both stay there.
            let taken = try await estimate { $0.name = "food" }
            #expect(codes(taken, "warnings") == ["name name_taken"] && taken["valid"]?.flag == true)

            let empty = "\(home)/empty.jsonl", bad = "\(home)/bad.jsonl", long = "\(home)/long.jsonl"
            try Data().write(to: URL(filePath: empty))
            try Data("{\"prompt\":\"a\"}\n{\"text\":\"b\"}\n{\"prompt\":\"c\",\"completion\":7}\n".utf8)
                .write(to: URL(filePath: bad))
            let filling = String(repeating: "again and ", count: 1200)
            try Data(#"{"text":"\#(filling)"}"#.utf8).write(to: URL(filePath: long))
            func with(_ path: String) async throws -> JSONValue {
                try await estimate {
                    $0.rows = path
                    $0.heldOutEvery = nil
                }
            }
            #expect(try await codes(with(empty)) == ["rows rows_with_faults"])
            let faulty = try await with(bad)
            #expect(codes(faulty) == ["rows rows_with_faults"] && faulty["row_faults_total"]?.integer == 2)
            let rows = faulty["row_faults"]?.items ?? []
            #expect(
                rows.map { $0["line"]?.integer } == [1, 3] && rows.allSatisfy { $0["field"]?.text == "completion" })
            #expect(rows.first?["file"]?.text == "bad.jsonl")
            #expect(try await codes(with(long), "warnings") == ["- rows_cut"])
        }
    }

    @Test func aRunThatHasNoRoomIsSaidSoBefore() async throws {
        try await Self.with(flags: ["memory.models": "64MiB"]) { service, peer, home in
            var wanted = try Self.wanted(home)
            wanted.rank = 256
            let estimate = try await service.perform(.estimateTraining(wanted))
            let fault = try #require(estimate["faults"]?.items?.first)
            #expect(fault["code"]?.text == "no_memory" && fault["param"]?.text == "rank")
            #expect(estimate["memory_left_bytes"]?.integer ?? .max <= 64 << 20)
            // In the same words as the run itself.
            let failed: NodeFault?
            do {
                _ = try await Self.lines(service, .train(wanted))
                failed = nil
            } catch { failed = error as? NodeFault }
            #expect(failed?.code == "training_failed" && failed?.message == fault["message"]?.text)
        }
    }

    @Test func anAdapterIsThisPeersOwnUntilItIsPublished() async throws {
        try await Self.with { service, peer, home in
            var wanted = try Self.wanted(home)
            wanted.publishes = false
            let done = try #require(try await Self.lines(service, .train(wanted)).last)
            let id = try #require(done["id"]?.text), cid = try CID(text: id)
            #expect(done["adapter"]?["published"]?.flag == false && done["adapter"]?["owner"]?.isNull == true)
            func isTold() async throws -> (announced: Bool, offered: Bool) {
                try await peer.handle.read { node in
                    (
                        node.catalog.all(.adapter).contains { $0.root == cid },
                        node.catalog.adverts.values.contains { $0.models.contains { $0.adapters.contains(cid) } }
                    )
                }
            }
            // As at a restart.
            if let folder = peer.shelf.entry(cid)?.folder { await peer.announce(cid, folder) }
            await peer.advertise()
            try await Task.sleep(for: .milliseconds(200))
            #expect(try await isTold() == (false, false))
            // To somebody else it is not here; to its owner it is.
            func answer(payer: AccountID) async throws -> String? {
                let base = try #require(peer.shelf.entry(cid)?.folder.base)
                var order = try PeerTests.order(
                    base, adapters: [AdapterUse(adapter: cid, owner: nil)],
                    decoding: Decoding(seed: 1, temperature: 0, maxTokens: 2),
                    precision: peer.inference.formName(of: base))
                order.payer = payer
                let box = NewsBox()
                peer.inference.generate(order, ticket: Ticket(UInt64.random(in: 1 << 40 ... .max))) { box.take($0) }
                return await box.answer().fault
            }
            let stranger = AccountID(try SigningKey(seed: [UInt8](repeating: 8, count: 32)).publicKey)
            #expect(try await answer(payer: stranger) == "adapter_missing")
            #expect(try await answer(payer: peer.handle.account) == nil)
            #expect(try await service.perform(.publishAdapter("kitchen"))["published"]?.flag == true)
            var told = (announced: false, offered: false)
            for _ in 0..<100 where told != (true, true) {
                told = try await isTold()
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(told == (true, true))
            #expect(try await answer(payer: stranger) == nil)
            // Trained again it stays published: the same files are the same adapter.
            _ = try peer.shelf.importFolder(
                path: "\(Starter.folder)/adapters/food", kind: .adapter, name: "food",
                base: try #require(peer.shelf.entry(cid)?.folder.base), isWithheld: true)
            #expect(peer.shelf.list().first { $0.name == "food" }?.isWithheld == false)
        }
    }

    /// A peer that asks itself for money earns at once as server, model owner and contributor: the three stages, by source.
    @Test func earningsAreInOneStageEach() async throws {
        try await Self.with { service, peer, _ in
            func earnings() async throws -> JSONValue {
                try await service.perform(.accountEarnings("me", ListPage(limit: 50)))
            }
            let before = try await earnings()
            #expect(before["settled"]?.text == "0" && before["entries"]?.items?.isEmpty == true)
            _ = try await service.perform(.faucet(account: nil))
            var free = Amount.zero
            for _ in 0..<200 where free == .zero {
                free = (try await service.balance(of: peer.handle.account)).free
                try await Task.sleep(for: .milliseconds(50))
            }
            var request = AnswerRequest(model: "starter", prompt: .messages([AnswerMessage(.user, "Define brisket.")]))
            (request.datanet, request.tokensMax, request.maySpend) = ("food", 8, true)
            let answer = try await service.generate(request)
            for try await _ in answer.events {}
            var now = try await earnings()
            // The committee's part of the faucet's fee may come first.
            func isSettled(_ now: JSONValue) -> Bool {
                now["entries"]?.items?.contains { $0["note"]?.text == "contributor of the data" } == true
            }
            for _ in 0..<400 where !isSettled(now) {
                try await Task.sleep(for: .milliseconds(50))
                now = try await earnings()
            }
            let sources = now["sources"]?.items ?? [], entries = now["entries"]?.items ?? []
            func total(_ values: [JSONValue], _ key: String) -> Amount {
                sum(values.compactMap { $0[key]?.text.flatMap { Amount(text: $0) } })
            }
            let settled = try #require(now["settled"]?.text.flatMap { Amount(text: $0) })
            #expect(settled > .zero && total(sources, "settled") == settled)
            #expect(total(entries.filter { $0["sign"]?.text == "+" }, "amount") == settled)
            #expect(now["pending"]?.text == "0" && now["estimated"]?.text == "0")
            let data = try #require(sources.first { $0["kind"]?.text == "contributor" })
            #expect(data["source"]?.text == "food" && data["payments"]?.integer == 1)
            #expect(entries.contains { $0["note"]?.text == "contributor of the data" && $0["source"]?.text == "food" })
            let days = (now["days"]?.items ?? []).compactMap { $0["settled"]?.text.flatMap { Amount(text: $0) } }
            #expect(sum(days) == settled)
            // Read anew from the disk it is the same.
            #expect(try await PeerService(peer: peer).perform(.accountEarnings("me", ListPage(limit: 50))) == now)
            #expect(try await service.perform(.account("me"))["balance"]?["pending"] == now["pending"])
        }
    }
}
