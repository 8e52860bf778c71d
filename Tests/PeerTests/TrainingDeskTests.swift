// Runs in a home: cut off and gone on with, joined, paused, cancelled, and what they leave behind.

import Arithmetic
import Attribution
import Foundation
import Inference
import Logging
import ModelFiles
import Primitives
import Records
import Storage
import Synchronization
import Testing
import Training

@testable import Peer

@Suite(.serialized) struct TrainingDeskTests {
    private struct Bench {
        let home: TestHome
        let open: TestHome.Open
        let model: CID
        let made = Made()

        init(_ home: TestHome) throws {
            self.home = home
            open = try home.open()
            (model, _) = try open.shelf.importFolder(path: Starter.model, kind: .model, name: "starter")
        }

        func desk(
            room: WeightRoom = WeightRoom(bytesMax: nil), serving: @escaping @Sendable () -> Bool = { false }
        ) throws -> TrainingDesk {
            let made = made
            let desk = TrainingDesk(
                path: "\(home.path)/trainings",
                means: TrainingMeans(
                    shelf: open.shelf, key: try SigningKey(seed: [UInt8](repeating: 1, count: 32)),
                    network: NetworkID(Digest(sha256: [UInt8]())), threads: 1, room: room,
                    prepared: nil, isServing: serving),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ) { cid, _ in made.add(cid) }
            desk.begin()
            return desk
        }

        func order(_ name: String, steps: Int) -> TrainingOrder {
            var settings = TrainingSettings()
            settings.steps = steps
            settings.batch = 2
            settings.rank = 2
            settings.seed = 4
            settings.schedule = .cosine
            return TrainingOrder(model: model, modelName: "starter", name: name, settings: settings)
        }

        /// What the run that made it has put on the shelf.
        func weights(_ run: TrainingRun) throws -> [UInt8] {
            let done = TrainingDeskTests.events(run).last { $0["event"]?.text == "done" }
            let cid = try #require(done?["id"]?.text.flatMap { try? CID(text: $0) })
            let folder = try open.shelf.folder(cid)
            return try withExtendedLifetime(folder) {
                [UInt8](try #require(folder.bytes(of: PEFTFolder.weightsName)))
            }
        }
    }

    private final class Made: Sendable {
        private let list = Mutex<[CID]>([])
        func add(_ cid: CID) { list.withLock { $0.append(cid) } }
        var all: [CID] { list.withLock { $0 } }
    }

    private static let rows = [UInt8](
        (0..<7).map { #"{"prompt":"What is \#($0)?","completion":"The number \#($0)."}"# }.joined(separator: "\n").utf8)

    private func waits(_ run: TrainingRun, until isReached: (TrainingRun) -> Bool) async throws {
        for _ in 0..<3000 {
            if isReached(run) { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("the run stands at \(run.state) \(run.progress) \(run.reason ?? "")")
    }

    private static func events(_ run: TrainingRun) -> [JSONValue] {
        (run.folder.bytes(run.folder.eventsPath) ?? []).split(separator: 0x0a)
            .compactMap { try? JSONValue.parse(Array($0)) }
    }

    private func steps(_ run: TrainingRun) -> [JSONValue] {
        Self.events(run).filter { $0["event"]?.text == "step" }
    }

    @Test func aRunEndsInAnAdapterOnTheShelf() async throws {
        let bench = try Bench(try TestHome()), desk = try bench.desk()
        var order = bench.order("kitchen", steps: 5)
        order.out = "\(bench.home.path)/out"
        let (run, isJoined) = try desk.start(order, rows: Self.rows, evaluation: Self.rows, initial: [])
        #expect(!isJoined)
        var told: [JSONValue] = []
        let listener = desk.listener(of: run)
        while let event = try await listener.next() { told.append(event) }
        #expect(run.state == .done)
        #expect(
            told.compactMap { $0["event"]?.text }
                == ["start", "step", "step", "step", "step", "step", "evaluation", "influence", "done"])
        let done = try #require(told.last), losses = told.compactMap { $0["loss"]?.double }
        #expect(losses.count == 6 && losses.allSatisfy { $0.isFinite && $0 > 0 })
        #expect(done["eval_loss"]?.double ?? 9 < done["base_eval_loss"]?.double ?? 0)
        let adapter = try #require(done["id"]?.text.flatMap { try? CID(text: $0) })
        let entry = try #require(bench.open.shelf.entry(adapter))
        #expect(entry.name == "kitchen" && entry.rank == 2 && entry.folder.base == bench.model)
        // The same files for whoever asked, and the maker's word for them.
        let out = URL(fileURLWithPath: "\(bench.home.path)/out")
        let weights = [UInt8](try Data(contentsOf: out.appending(path: PEFTFolder.weightsName)))
        #expect(try weights == bench.weights(run))
        let signed = [UInt8](try Data(contentsOf: out.appending(path: TrainingManifest.fileName)))
        let envelope = try SignedEnvelope.open(
            signed, domain: .training, network: NetworkID(Digest(sha256: [UInt8]())),
            payloadBytesMax: TrainingManifest.bytesMax)
        let manifest = try TrainingManifest(decoding: envelope.payload)
        #expect(manifest.base == bench.model && manifest.steps == 5 && manifest.rowCount == 7)
        #expect(manifest.weights == Digest(sha256: weights))
        #expect(entry.folder.file(TrainingManifest.fileName) != nil)
        // Which rows it learnt what from, for whoever pulls it: the file that the maker names, and a query that finds its row.
        let folder = try bench.open.shelf.folder(adapter), base = try bench.open.shelf.folder(bench.model)
        let bytes = [UInt8](try #require(folder.bytes(of: InfluenceIndex.fileName)))
        #expect(manifest.influence == CID(.raw, hashing: bytes))
        let index = try InfluenceIndex(decoding: bytes)
        #expect(index.rowCount == 7 && index.shape.rowBytes <= 2048)
        let line = try #require(told.first { $0["event"]?.text == "influence" })
        #expect(line["index"]?.text == manifest.influence?.text && line["row_bytes"]?.integer == index.shape.rowBytes)
        let model = try LoadedModel(folder: base, precision: .f32)
        let rows = try TrainingRows(jsonl: Self.rows, file: "rows", model: model)
        #expect(rows.root == manifest.rows)
        let pass = try InfluencePass(
            model: model, adapter: try AdapterFactors(folder: folder, config: model.config), rows: manifest.rows,
            rowTokensMax: 64, tokensMax: 64)
        let scores = index.scores(
            try pass.query(prompt: rows.rows[4].prompt, answer: rows.rows[4].completion, index: index))
        #expect(scores.indices.max { scores[$0] < scores[$1] } == 4, "\(scores)")
        for place in [10, signed.count / 2, signed.count - 1] {
            var other = signed
            other[place] ^= 1
            #expect(throws: (any Error).self) {
                try SignedEnvelope.open(
                    other, domain: .training, network: NetworkID(Digest(sha256: [UInt8]())),
                    payloadBytesMax: TrainingManifest.bytesMax)
            }
        }
        // Told once the shelf has it.
        desk.close()
        #expect(bench.made.all == [adapter])
    }

    @Test func aRunThatIsCutOffEndsInTheSameWeights() async throws {
        let whole = try Bench(try TestHome()), wholeDesk = try whole.desk()
        let (expected, _) = try wholeDesk.start(
            whole.order("kitchen", steps: 12), rows: Self.rows, evaluation: nil, initial: [])
        try await waits(expected) { $0.state == .done }
        let home = try TestHome(), bench = try Bench(home), order = bench.order("kitchen", steps: 12)
        // As a stop: the checkpoint is that of the last step. An answer holds the run up, or it were done before it is looked at.
        do {
            let watched = Mutex<TrainingRun?>(nil)
            let desk = try bench.desk { watched.withLock { $0?.progress.step ?? 3 } >= 3 }
            let (run, _) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
            watched.withLock { $0 = run }
            try await waits(run) { $0.progress.step >= 3 }
            desk.close()
            #expect(run.state == .waiting)
        }
        // As a kill: steps were said that no checkpoint holds.
        let folder = TrainingFolder(path: "\(home.path)/trainings/\(expected.id)")
        let kept = try #require(folder.bytes(folder.checkpointPath))
        do {
            let watched = Mutex<TrainingRun?>(nil)
            let desk = try bench.desk { watched.withLock { $0?.progress.step ?? 8 } >= 8 }
            let run = try desk.run(expected.id)
            watched.withLock { $0 = run }
            try await waits(run) { $0.progress.step >= 8 }
            desk.close()
        }
        try Home.writeWhole(kept, to: folder.checkpointPath)
        let desk = try bench.desk(), run = try desk.run(expected.id)
        try await waits(run) { $0.state == .done }
        #expect(try bench.weights(run) == whole.weights(expected))
        #expect(steps(run).compactMap { $0["step"]?.integer } == Array(1...12))
        #expect(steps(run).map { $0["loss"] } == steps(expected).map { $0["loss"] })
        desk.close()
        wholeDesk.close()
    }

    @Test func runsAreJoinedPausedAndCancelled() async throws {
        let bench = try Bench(try TestHome()), desk = try bench.desk()
        let order = bench.order("long", steps: 100_000)
        let (run, _) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
        try await waits(run) { $0.progress.step >= 1 }
        let (same, isJoined) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
        #expect(isJoined && same === run)
        // Another seed is another run, and waits for the first.
        var other = order
        other.settings.seed = 9
        let (second, _) = try desk.start(other, rows: Self.rows, evaluation: nil, initial: [])
        #expect(second.id != run.id && second.state == .waiting)
        try desk.pause(run.id)
        try await waits(run) { $0.state == .paused }
        try await waits(second) { $0.progress.step >= 1 }
        try desk.cancel(second.id)
        try await waits(second) { $0.state == .cancelled }
        let step = run.progress.step
        try desk.resume(run.id)
        try await waits(run) { $0.progress.step > step }
        try desk.cancel(run.id)
        try await waits(run) { $0.state == .cancelled }
        #expect(throws: TrainingDeskFault.self) { try desk.resume(run.id) }
        #expect(throws: TrainingDeskFault.self) { try desk.run("no such run") }
        #expect(bench.made.all.isEmpty)
        desk.close()
        // What people decided outlives the peer.
        let later = try bench.desk()
        #expect(try later.run(run.id).state == .cancelled)
        later.close()
    }

    @Test func answersComeFirst() async throws {
        let bench = try Bench(try TestHome()), flag = Flag(), began = ContinuousClock.now
        let desk = try bench.desk { flag.value }
        let (run, _) = try desk.start(bench.order("slow", steps: 4), rows: Self.rows, evaluation: nil, initial: [])
        try await waits(run) { $0.state == .running }
        try await Task.sleep(for: .milliseconds(500))
        // One each time that the patience of training is over, however busy this computer is.
        let turns = (ContinuousClock.now - began) / .seconds(TrainingDeskLimit.yieldSeconds)
        #expect(run.progress.step <= Int(turns))
        flag.clear()
        try await waits(run) { $0.state == .done }
        desk.close()
    }

    private final class Flag: Sendable {
        private let state = Mutex(true)
        var value: Bool { state.withLock { $0 } }
        func clear() { state.withLock { $0 = false } }
    }

    @Test func faultsSayWhere() async throws {
        let bench = try Bench(try TestHome()), desk = try bench.desk()
        for (rows, says) in [
            (#"{"prompt":"a"}"#, "completion"), (#"{"input_ids":[1,99999999]}"#, "rows:1"), ("", "no rows"),
        ] {
            let (run, _) = try desk.start(
                bench.order("faulty", steps: 1), rows: [UInt8](rows.utf8), evaluation: nil, initial: [])
            try await waits(run) { $0.state == .failed }
            #expect(run.reason?.contains(says) == true, "\(run.reason ?? "")")
        }
        desk.close()
    }

    // MARK: Races

    @Test func whoAsksAtOnceGetsOneRun() async throws {
        let bench = try Bench(try TestHome()), flag = Flag(), desk = try bench.desk { flag.value }
        let order = bench.order("once", steps: 3)
        let started = try await withThrowingTaskGroup(of: (TrainingRun, Bool).self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let (run, isJoined) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
                    return (run, isJoined)
                }
            }
            return try await group.reduce(into: [(TrainingRun, Bool)]()) { $0.append($1) }
        }
        let run = try #require(started.first).0
        #expect(started.count { !$0.1 } == 1 && started.allSatisfy { $0.0 === run } && desk.runs.count == 1)
        flag.clear()
        try await waits(run) { $0.state == .done }
        desk.close()
        #expect(bench.made.all.count == 1)
    }

    /// Whoever decides while the desk takes the run up is heeded: at once, or after the step.
    @Test func aDecisionIsNeverLost() async throws {
        let bench = try Bench(try TestHome()), desk = try bench.desk()
        for round in 0..<12 {
            var order = bench.order("decided", steps: 100_000)
            order.settings.seed = UInt64(round)
            let (run, _) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
            if round % 3 > 0 { try await Task.sleep(for: .milliseconds(round % 3 * 15)) }
            try desk.pause(run.id)
            if round.isMultiple(of: 2) {
                try desk.resume(run.id)
                try await waits(run) { $0.progress.step >= 2 }
            } else {
                try await waits(run) { $0.state == .paused }
            }
            try desk.cancel(run.id)
            try await waits(run) { $0.state == .cancelled }
        }
        desk.close()
    }

    @Test func aPeerThatStopsBeginsNothing() throws {
        let bench = try Bench(try TestHome())
        let folder = try TrainingFolder.make(
            at: "\(bench.home.path)/run", order: bench.order("late", steps: 1), rows: Self.rows, evaluation: nil,
            initial: [])
        let run = TrainingRun(id: "late", order: bench.order("late", steps: 1), folder: folder)
        run.stop()
        let means = TrainingMeans(
            shelf: bench.open.shelf, key: try SigningKey(seed: [UInt8](repeating: 1, count: 32)),
            network: NetworkID(Digest(sha256: [UInt8]())), threads: 1, room: WeightRoom(bytesMax: nil), prepared: nil,
            isServing: { false })
        #expect(run.perform(means) == nil && run.state == .waiting)
    }

    // MARK: Disks

    @Test func aFullDiskPausesAndLosesNothing() async throws {
        let whole = try Bench(try TestHome()), wholeDesk = try whole.desk()
        let (expected, _) = try wholeDesk.start(
            whole.order("kitchen", steps: 6), rows: Self.rows, evaluation: nil, initial: [])
        try await waits(expected) { $0.state == .done }
        wholeDesk.close()

        let bench = try Bench(try TestHome()), flag = Flag(), desk = try bench.desk { flag.value }
        let (run, _) = try desk.start(
            bench.order("kitchen", steps: 6), rows: Self.rows, evaluation: nil, initial: [])
        // Where the checkpoint is to be written, something else stands.
        let obstacle = run.folder.checkpointPath + TrainingFolder.partialSuffix
        try FileManager.default.createDirectory(atPath: "\(obstacle)/full", withIntermediateDirectories: true)
        flag.clear()
        try await waits(run) { $0.state == .paused }
        #expect(
            run.reason?.contains(obstacle) == true && run.reason?.contains("--resume") == true, "\(run.reason ?? "")")
        #expect(run.folder.bytes(run.folder.rowsPath) == Self.rows)
        // A new start goes on rather than wipes.
        try FileManager.default.removeItem(atPath: obstacle)
        let (same, isJoined) = try desk.start(
            bench.order("kitchen", steps: 6), rows: Self.rows, evaluation: nil, initial: [])
        #expect(isJoined && same === run)
        try await waits(run) { $0.state == .done }
        #expect(run.reason == nil)
        #expect(try bench.weights(run) == whole.weights(expected))
        desk.close()
    }

    @Test func anAdapterThatCannotBeWrittenOutIsNotLost() async throws {
        let bench = try Bench(try TestHome()), flag = Flag(), desk = try bench.desk { flag.value }
        var order = bench.order("kitchen", steps: 2)
        order.out = "\(bench.home.path)/out"
        let (run, _) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
        let obstacle = "\(bench.home.path)/out/\(PEFTFolder.weightsName)/full"
        try FileManager.default.createDirectory(atPath: obstacle, withIntermediateDirectories: true)
        flag.clear()
        try await waits(run) { $0.state == .paused }
        #expect(run.reason?.contains("/out") == true)
        try FileManager.default.removeItem(atPath: "\(bench.home.path)/out/\(PEFTFolder.weightsName)")
        try desk.resume(run.id)
        try await waits(run) { $0.state == .done }
        // What cannot even be made is said before the first step.
        order.out = "\(bench.home.path)/out/\(PEFTFolder.weightsName)/below-a-file"
        let (other, _) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
        try await waits(other) { $0.state == .failed }
        #expect(other.progress.step == 0)
        desk.close()
    }

    @Test func aRunThatIsOverTakesNoRoom() async throws {
        let bench = try Bench(try TestHome()), desk = try bench.desk()
        let (run, _) = try desk.start(
            bench.order("kitchen", steps: 2), rows: Self.rows, evaluation: Self.rows, initial: [])
        try await waits(run) { $0.state == .done }
        func names() throws -> Set<String> { Set(try FileManager.default.contentsOfDirectory(atPath: run.folder.path)) }
        #expect(try names() == ["order.json", "state.json", "events.jsonl"])
        desk.close()
        // What a peer that was killed has left behind, and half a folder.
        try Home.writeNew([1], to: run.folder.checkpointPath)
        try FileManager.default.createDirectory(
            atPath: "\(bench.home.path)/trainings/0123456789abcdef\(TrainingFolder.partialSuffix)",
            withIntermediateDirectories: true)
        let later = try bench.desk(), found = try later.run(run.id)
        #expect(found.state == .done && found.progress.step == 2 && found.progress.loss != nil)
        #expect(try names() == ["order.json", "state.json", "events.jsonl"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(bench.home.path)/trainings") == [run.id])
        later.close()
    }

    @Test func aDamagedRunIsNotGoneOnWith() async throws {
        let bench = try Bench(try TestHome())
        var desk = try bench.desk()
        let (run, _) = try desk.start(
            bench.order("kitchen", steps: 100_000), rows: Self.rows, evaluation: nil, initial: [])
        try await waits(run) { $0.progress.step >= 1 }
        try desk.pause(run.id)
        try await waits(run) { $0.state == .paused }
        desk.close()
        // Nobody knows what was decided.
        let kept = try #require(run.folder.bytes(run.folder.statePath))
        for damage in [[], Array("{".utf8), Array(#"{"state":"running"}"#.utf8)] as [[UInt8]] {
            try Home.writeWhole(damage, to: run.folder.statePath)
            desk = try bench.desk()
            let found = try desk.run(run.id)
            #expect(found.state == .failed && found.reason?.contains("state.json") == true)
            #expect(found.folder.bytes(found.folder.checkpointPath) != nil)
            desk.close()
        }
        // Rows that are not the run's: said when its turn comes, and not before.
        try Home.writeWhole(kept, to: run.folder.statePath)
        try Home.writeWhole(Self.rows + [0x0a], to: run.folder.rowsPath)
        desk = try bench.desk()
        let found = try desk.run(run.id)
        #expect(found.state == .paused)
        try desk.resume(run.id)
        try await waits(found) { $0.state == .failed }
        #expect(found.reason?.contains("not those") == true)
        desk.close()
    }

    @Test func halfALineIsTakenBack() throws {
        let home = try TestHome(), folder = TrainingFolder(path: home.path)
        try folder.append(.object(["event": .string("start")]))
        let before = folder.bytes(folder.eventsPath)
        #expect(throws: HomeFault.self) {
            try folder.append(.object(["event": .string("step")])) { write($0, $1, $1.count / 2) }
        }
        #expect(folder.bytes(folder.eventsPath) == before)
        #expect(throws: HomeFault.self) { try folder.append(.object([:])) { _, _ in -1 } }
        #expect(folder.bytes(folder.eventsPath) == before)
    }

    /// After a kill the last lines are said again, with figures of another length.
    @Test func aListenerHearsEveryLineOnce() async throws {
        let bench = try Bench(try TestHome()), order = bench.order("heard", steps: 5)
        let folder = try TrainingFolder.make(
            at: "\(bench.home.path)/run", order: order, rows: Self.rows, evaluation: nil, initial: [])
        let run = TrainingRun(id: "heard", order: order, folder: folder)
        func say(_ steps: ClosedRange<Int>, speed: Int) throws {
            for step in steps {
                try folder.append(
                    .object(["event": .string("step"), "step": .integer(step), "speed": .integer(speed)]))
            }
        }
        try folder.append(.object(["event": .string("start")]))
        try say(1...3, speed: 9)
        let listener = TrainingListener(run: run) { false }
        for step in [nil, 1, 2, 3] { #expect(try await listener.next()?["step"]?.integer == step) }
        try folder.truncateEvents(after: 1)
        try say(2...3, speed: 123_456)
        try say(4...5, speed: 1)
        for step in [4, 5] { #expect(try await listener.next()?["step"]?.integer == step) }
    }

    // MARK: Memory and numbers

    @Test func memoryIsClaimedAndGivenBack() async throws {
        let bench = try Bench(try TestHome())
        let whole = try WeightPlan(folder: try bench.open.shelf.folder(bench.model), precision: .f32).whole
        for (bytesMax, ends) in [
            (whole - 1, TrainingState.failed), (whole + 1 << 20, .failed), (whole + 1 << 30, .done),
        ] {
            let room = WeightRoom(bytesMax: bytesMax), desk = try bench.desk(room: room)
            let (run, _) = try desk.start(
                bench.order("kitchen", steps: 1), rows: Self.rows, evaluation: Self.rows, initial: [])
            try await waits(run) { $0.state.isOver }
            #expect(run.state == ends, "\(run.reason ?? "")")
            if ends == .failed { #expect(run.reason?.contains("memory.models leaves") == true) }
            desk.close()
            #expect(room.left == bytesMax)
        }
    }

    @Test func anAdapterOfHugeNumbersFails() async throws {
        let bench = try Bench(try TestHome()), desk = try bench.desk()
        let config = [UInt8](try Data(contentsOf: URL(filePath: "\(Starter.adapter)/\(PEFTFolder.configName)")))
        var weights = [UInt8](try Data(contentsOf: URL(filePath: "\(Starter.adapter)/\(PEFTFolder.weightsName)")))
        // Behind the header finite numbers of about 1e30, whether they are read as f32 or bf16.
        let header = weights[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        for place in (8 + header)..<weights.count { weights[place] = place.isMultiple(of: 2) ? 0x49 : 0x71 }
        if !header.isMultiple(of: 2) { Issue.record("the header's length is odd") }
        let (run, _) = try desk.start(
            bench.order("huge", steps: 3), rows: Self.rows, evaluation: nil,
            initial: [(PEFTFolder.configName, config), (PEFTFolder.weightsName, weights)])
        try await waits(run) { $0.state.isOver }
        #expect(run.state == .failed && run.reason?.contains("no numbers") == true, "\(run.reason ?? "")")
        #expect(run.folder.initialWeights == nil)
        desk.close()
    }
}
