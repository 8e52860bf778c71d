// Random arrivals, cancellations, adapters and unloads against the starter model, one seed a run. After each step every
// count is right and every budget holds; in the end each answer equals what its request gets alone. Two planted faults
// show that the property can fail.

import Arithmetic
import Decoding
import Foundation
import ModelFixtures
import Primitives
import Synchronization
import Testing

@testable import Inference

@Suite struct EnginePropertyTests {
    enum Canary: CaseIterable {
        /// Somebody writes into a page that is kept for others.
        case writtenPage
        /// Somebody forgets to give a page back.
        case lostPage
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64]) func chanceFindsNothing(seed: UInt64) throws {
        var run = try PropertyRun(seed: seed)
        try run.go(steps: 300)
        #expect(run.faults == [], "seed \(seed)")
        #expect(run.answered > 20 && run.cancelled > 3 && run.engine.statistics.adapterEvictions > 0)
        #expect(run.engine.statistics.preemptions > 0 && run.engine.statistics.cachedTokens > 100)
    }

    @Test(arguments: Canary.allCases) func plantedFaultsAreFound(canary: Canary) throws {
        var run = try PropertyRun(seed: 1)
        run.canary = canary
        try run.go(steps: 300)
        #expect(!run.faults.isEmpty)
    }
}

/// The starter model and what each request gets alone, shared by all runs.
private enum Ground {
    private static let solo = Mutex<[String: Heard]>([:])
    static let model = Result {
        try LoadedModel(folder: try folder(starter.appending(path: "model")), precision: .int8)
    }
    static let weights = Result {
        let config = try model.get().config
        return try ["food", "anatomy"].map {
            try LoadedAdapter(folder: try folder(starter.appending(path: "adapters/\($0)")), config: config)
        }
    }

    static func alone(_ request: GenerationRequest, _ adapters: [String: LoadedAdapter], key: String) throws -> Heard {
        if let known = solo.withLock({ $0[key] }) { return known }
        var limits = EngineLimits()
        limits.keepsPages = false
        let engine = Engine(model: try model.get(), limits: limits)
        for (name, adapter) in adapters { try engine.register(adapter, as: name) }
        let id = try engine.submit(request)
        var heard = Heard()
        while !engine.isIdle {
            engine.serveLoads(adapters)
            for output in engine.step() where output.id == id { heard.hear(output) }
        }
        solo.withLock { $0[key] = heard }
        return heard
    }
}

struct PropertyRun {
    let engine: Engine
    var canary: EnginePropertyTests.Canary?
    private(set) var faults: [String] = []
    private(set) var answered = 0
    private(set) var cancelled = 0
    private var random: SeededRandom
    /// Names of adapters and which of the two weights each has.
    private var known: [String: Int] = [:]
    /// The same of all that ever were: a name is never used twice.
    private var meant: [String: Int] = [:]
    private var asked: [SequenceID: (request: GenerationRequest, weights: [String: LoadedAdapter], key: String)] = [:]
    private var heard: [SequenceID: Heard] = [:]
    private var loads: [(load: AdapterLoad, due: Int)] = []
    private var failed: Set<String> = []
    private var now = Instant.start
    private let weights: [LoadedAdapter]
    private var wasKept: SequenceID?
    private var names = 0

    init(seed: UInt64) throws {
        random = SeededRandom(seed: seed)
        weights = try Ground.weights.get()
        let model = try Ground.model.get()
        var limits = EngineLimits()
        limits.sequencesMax = 2 + Int(random.below(7))
        limits.stepTokensMax = [9, 24, 128][Int(random.below(3))]
        limits.promptTokensBesideAnswersMax = [5, 16, 64][Int(random.below(3))]
        limits.queueMax = 24
        limits.queuePerTenantMax = 10
        limits.fairnessTokens = 40
        limits.cacheBytesMax = PagePool(config: model.config, bytesMax: 0).pageBytes * (16 + Int(random.below(20)))
        limits.adapterBytesMax = weights[0].weightBytes * 9 / 2
        limits.adapterLoadsMax = 2
        engine = Engine(model: model, limits: limits, pool: SerialPool(width: 1 + Int(random.below(2))))
        for _ in 0..<6 { try declare() }
    }

    private mutating func declare() throws {
        names += 1
        let which = Int(random.below(2))
        known["adapter\(names)"] = which
        meant["adapter\(names)"] = which
        // Now and then less than it takes.
        try engine.declare(
            "adapter\(names)", bytes: weights[which].weightBytes * (random.below(4) == 0 ? 1 : 2) / 2)
    }

    mutating func go(steps: Int) throws {
        for step in 0..<steps {
            if step < steps * 2 / 3 { try act() }
            take(engine.takeLoads(), at: step)
            answerLoads(at: step)
            if step == steps / 2 { plant() }
            try take(engine.step(now: now))
            now = now + .milliseconds(20)
            faults += engine.faults
            checkFairness()
            if !faults.isEmpty { return }
        }
        for step in steps..<steps + 20_000 where !engine.isIdle && faults.isEmpty {
            take(engine.takeLoads(), at: step)
            answerLoads(at: step)
            try take(engine.step(now: now))
            faults += engine.faults
        }
        if !engine.isIdle { faults.append("the engine does not come to an end") }
        if engine.statistics.pagesHeld != 0 { faults.append("pages are held by nobody") }
    }

    private mutating func act() throws {
        if random.below(3) == 0 { try arrive() }
        if random.below(12) == 0, let id = asked.keys.sorted().randomElement(using: &random) {
            if engine.cancel(id) { cancelled += 1 } else { faults.append("\(id) could not be cancelled") }
            asked[id] = nil
        }
        if random.below(25) == 0, let name = known.keys.sorted().randomElement(using: &random) {
            engine.unregister(name)
            known[name] = nil
            try declare()
        }
        if random.below(30) == 0, let name = known.keys.sorted().randomElement(using: &random) {
            if engine.isPinned(adapter: name) {
                engine.unpin(adapter: name)
            } else if !known.keys.contains(where: { engine.isPinned(adapter: $0) }) {
                try engine.pin(adapter: name)
            }
        } else if random.below(10) == 0 {
            for name in known.keys.sorted() { engine.unpin(adapter: name) }
        }
    }

    private mutating func arrive() throws {
        let length = 4 + Int(random.below(70)), stem = Int32(random.below(3)) * 100
        var prompt = (0..<length).map { 300 + stem + Int32($0 * 37 % 1000) }
        if random.below(3) == 0 { prompt[Int(random.below(UInt64(length)))] = 77 }
        var request = GenerationRequest(
            prompt: prompt, tokensMax: 1 + Int(random.below(40)),
            sampling: random.below(2) == 0 ? .greedy : Sampling(temperature: 1, topK: 40, seed: random.below(3)),
            ignoresEnd: true, logProbabilities: random.below(2) == 0 ? 2 : nil, scoresPrompt: random.below(8) == 0,
            tenant: ["a", "a", "a", "b", "c"][Int(random.below(5))],
            priority: ServingPriority.allCases[Int(random.below(12)) % 4 == 0 ? Int(random.below(4)) : 2])
        if random.below(10) == 0 { request.deadline = now + .milliseconds(random.below(400)) }
        let names = known.keys.sorted()
        var used: [String] = []
        switch random.below(5) {
        case 0: break
        case 1:
            used = Array(names.shuffled(using: &random).prefix(2))
            request.fusion = AdapterFusion(
                parts: used.enumerated().map { .init(adapter: $1, weight: $0 == 0 ? 0.75 : -0.5) },
                method: random.below(2) == 0 ? .linear : .ties(density: 0.5))
        default:
            request.adapter = names.randomElement(using: &random)
            used = request.adapter.map { [$0] } ?? []
        }
        let which = used.compactMap { known[$0] }
        let key =
            "\(prompt) \(request.tokensMax) \(request.sampling) \(request.logProbabilities ?? -1) "
            + "\(request.scoresPrompt) \(which) \(request.fusion.map { "\($0.method)" } ?? "")"
        do throws(EngineFault) {
            let id = try engine.submit(request)
            var weights: [String: LoadedAdapter] = [:]
            for (name, index) in zip(used, which) { weights[name] = self.weights[index] }
            asked[id] = (request, weights, key)
        } catch {
            guard error.retryAfter != nil else { return faults.append("refused: \(error)") }
        }
    }

    private mutating func take(_ new: [AdapterLoad], at step: Int) {
        for load in new { loads.append((load, step + Int(random.below(6)))) }
    }

    private mutating func answerLoads(at step: Int) {
        let due = loads.filter { $0.due <= step }.map(\.load)
        loads.removeAll { $0.due <= step }
        for load in due {
            do {
                switch load.work {
                case .read(let name, _):
                    if random.below(15) == 0 {
                        failed.insert(name)
                        engine.failed(load, reason: "planted")
                    } else {
                        engine.loaded(load, weights[meant[name] ?? 0])
                    }
                case .fuse(let job): engine.loaded(load, try job.make())
                }
            } catch {
                faults.append("\(error)")
            }
        }
    }

    private mutating func take(_ outputs: [SequenceOutput]) throws {
        for output in outputs {
            guard let sequence = asked[output.id] else {
                faults.append("\(output.id) was not asked for, or was cancelled")
                continue
            }
            heard[output.id, default: Heard()].hear(output)
            guard let finish = output.finish else { continue }
            let answer = heard[output.id] ?? Heard()
            asked[output.id] = nil
            switch finish {
            case .expired:
                if sequence.request.deadline.map({ $0 >= now }) ?? true { faults.append("expired before its time") }
            case .adapterFailed:
                if failed.isDisjoint(with: sequence.weights.keys) { faults.append("\(finish) without a reason") }
            default:
                answered += 1
                let alone = try Ground.alone(sequence.request, sequence.weights, key: sequence.key)
                if answer != alone { faults.append("\(output.id) is not what it is alone: \(sequence.key)") }
            }
        }
    }

    /// Whoever should have another's place does not wait for it through two steps while there are pages.
    private mutating func checkFairness() {
        let next = engine.scheduler.next { id in engine.queued[id].map(engine.isReady) ?? false }
        guard let next, let sequence = engine.queued[next.waiting.id],
            PagePool.pages(positions: sequence.tokens.count) + engine.live.count <= engine.cache.available,
            engine.live.contains(where: {
                engine.scheduler.takesPlace(next.waiting, of: next.tenant, from: $0.waiting, of: $0.tenant)
            })
        else { return wasKept = nil }
        if wasKept == next.waiting.id { faults.append("\(next.waiting.id) is kept from its place") }
        wasKept = next.waiting.id
    }

    private func plant() {
        switch canary {
        case .writtenPage:
            for page in 0..<engine.statistics.pagesHeld + engine.statistics.pagesIdle {
                engine.pool.bytes(of: PageNumber(value: Int32(page)))
                    .initializeMemory(as: UInt8.self, repeating: 0x3f, count: engine.pool.pageBytes)
            }
        case .lostPage:
            if let sequence = engine.live.first, let cursor = sequence.cursor { engine.pool.retain(cursor.table[0]) }
        case nil: break
        }
    }
}
