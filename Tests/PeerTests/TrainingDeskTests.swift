// Runs in a home: cut off and gone on with, joined, paused, cancelled, and what they leave behind.

import Arithmetic
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

        func desk(serving: @escaping @Sendable () -> Bool = { false }) throws -> TrainingDesk {
            let made = made
            let desk = TrainingDesk(
                path: "\(home.path)/trainings",
                means: TrainingMeans(
                    shelf: open.shelf, key: try SigningKey(seed: [UInt8](repeating: 1, count: 32)),
                    network: NetworkID(Digest(sha256: [UInt8]())), threads: 1, room: WeightRoom(bytesMax: nil),
                    prepared: nil, isServing: serving),
                logger: Logger(label: "test")
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

    private func weights(_ run: TrainingRun) -> [UInt8]? {
        run.folder.bytes("\(run.folder.adapterPath)/\(PEFTFolder.weightsName)")
    }

    private func steps(_ run: TrainingRun) -> [JSONValue] {
        (run.folder.bytes(run.folder.eventsPath) ?? []).split(separator: 0x0a)
            .compactMap { try? JSONValue.parse(Array($0)) }.filter { $0["event"]?.text == "step" }
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
                == ["start", "step", "step", "step", "step", "step", "evaluation", "done"])
        let done = try #require(told.last), losses = told.compactMap { $0["loss"]?.double }
        #expect(losses.count == 6 && losses.allSatisfy { $0.isFinite && $0 > 0 })
        #expect(done["eval_loss"]?.double ?? 9 < done["base_eval_loss"]?.double ?? 0)
        let adapter = try #require(done["id"]?.text.flatMap { try? CID(text: $0) })
        let entry = try #require(bench.open.shelf.entry(adapter))
        #expect(entry.name == "kitchen" && entry.rank == 2 && entry.folder.base == bench.model)
        // The same files for whoever asked, and the maker's word for them.
        let out = URL(fileURLWithPath: "\(bench.home.path)/out")
        let weights = [UInt8](try Data(contentsOf: out.appending(path: PEFTFolder.weightsName)))
        #expect(weights == self.weights(run))
        let signed = [UInt8](try Data(contentsOf: out.appending(path: TrainingManifest.fileName)))
        let envelope = try SignedEnvelope.open(
            signed, domain: .training, network: NetworkID(Digest(sha256: [UInt8]())),
            payloadBytesMax: TrainingManifest.bytesMax)
        let manifest = try TrainingManifest(decoding: envelope.payload)
        #expect(manifest.base == bench.model && manifest.steps == 5 && manifest.rowCount == 7)
        #expect(manifest.weights == Digest(sha256: weights))
        #expect(entry.folder.file(TrainingManifest.fileName) != nil)
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
        // As a stop: the checkpoint is that of the last step.
        do {
            let desk = try bench.desk()
            let (run, _) = try desk.start(order, rows: Self.rows, evaluation: nil, initial: [])
            try await waits(run) { $0.progress.step >= 3 }
            desk.close()
            #expect(run.state == .waiting)
        }
        // As a kill: steps were said that no checkpoint holds.
        let folder = TrainingFolder(path: "\(home.path)/trainings/\(expected.id)")
        let kept = try #require(folder.bytes(folder.checkpointPath))
        do {
            let desk = try bench.desk(), run = try desk.run(expected.id)
            try await waits(run) { $0.progress.step >= 8 }
            desk.close()
        }
        try Home.writeWhole(kept, to: folder.checkpointPath)
        let desk = try bench.desk(), run = try desk.run(expected.id)
        try await waits(run) { $0.state == .done }
        #expect(weights(run) != nil && weights(run) == weights(expected))
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
        let bench = try Bench(try TestHome()), flag = Flag()
        let desk = try bench.desk { flag.value }
        let (run, _) = try desk.start(bench.order("slow", steps: 4), rows: Self.rows, evaluation: nil, initial: [])
        try await waits(run) { $0.state == .running }
        try await Task.sleep(for: .milliseconds(500))
        #expect(run.progress.step <= 1)
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
}
