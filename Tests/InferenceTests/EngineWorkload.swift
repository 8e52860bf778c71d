// Requests and what became of them, for tests that compare one engine's answers with another's bit for bit.

import Arithmetic
import Decoding

@testable import Inference

/// Everything that a caller can see of an answer.
struct Heard: Equatable {
    var tokens: [Int32] = []
    /// Bits of each token's log-probability and of its alternatives'.
    var scores: [UInt32] = []
    var text = ""
    var finish: FinishReason?

    mutating func hear(_ output: SequenceOutput) {
        for token in output.prompt + (output.token.map { [$0] } ?? []) {
            scores += [(token.logProbability ?? 0).bitPattern]
            scores += token.alternatives.map(\.logProbability.bitPattern)
        }
        if let token = output.token { tokens.append(token.id) }
        text += output.text
        if let reason = output.finish { finish = reason }
    }
}

/// Submits all, steps until nothing is left and answers in the order of the requests.
func hear(_ engine: Engine, _ requests: [GenerationRequest], eachStep: () -> Void = {}) throws -> [Heard] {
    var ids: [SequenceID] = []
    for request in requests { ids.append(try engine.submit(request)) }
    var heard: [SequenceID: Heard] = [:]
    for _ in 0..<100_000 where !engine.isIdle {
        for output in engine.step() { heard[output.id, default: Heard()].hear(output) }
        eachStep()
    }
    return ids.map { heard[$0] ?? Heard() }
}

extension Engine {
    /// Answers what it asks for with weights that are here.
    func serveLoads(_ weights: [String: LoadedAdapter]) {
        for load in takeLoads() {
            do {
                switch load.work {
                case .read(let name, _):
                    if let adapter = weights[name] { loaded(load, adapter) } else { failed(load, reason: "missing") }
                case .fuse(let job): loaded(load, try job.make())
                }
            } catch {
                failed(load, reason: "\(error)")
            }
        }
    }

    /// What must hold between any two steps.
    var faults: [String] {
        var faults: [String] = []
        func check(_ holds: Bool, _ what: String) { if !holds { faults.append(what) } }
        check(cacheBytesKept <= limits.cacheBytesMax, "the cache is over its budget")
        check(adapters.bytes <= limits.adapterBytesMax, "the adapters are over their budget")
        check(live.count <= limits.sequencesMax, "too many sequences are live")
        check(queued.count == scheduler.waitingCount, "queue and scheduler differ")
        check(scheduler.waitingCount <= limits.queueMax + limits.sequencesMax, "the queue is too long")
        check(zip(live, live.dropFirst()).allSatisfy { $0.isMoreImportant(than: $1) }, "the live are out of order")
        var holders: [PageNumber: Int] = [:]
        for sequence in live {
            guard let cursor = sequence.cursor else {
                faults.append("a live sequence has no pages")
                continue
            }
            for index in 0..<cursor.table.count { holders[cursor.table[index], default: 0] += 1 }
            check(cursor.table.count * 16 >= sequence.cached, "a position has no page")
            check(sequence.weights != nil || sequence.adapter == nil, "a live sequence has no adapter")
        }
        for (page, count) in holders { check(pool.holders(of: page) == count, "page \(page.value) is miscounted") }
        check(holders.count == pool.pagesHeld, "a page is held by nobody")
        check(cache.pagesInTree >= pool.pagesIdle, "an idle page is not in the tree")
        check(queued.values.allSatisfy { $0.cursor == nil && $0.weights == nil }, "a queued sequence holds something")
        var running: [Int: Int] = [:]
        for sequence in live { running[sequence.tenant.value, default: 0] += 1 }
        for (index, tenant) in scheduler.tenants.enumerated() {
            check(tenant.running == running[index, default: 0], "tenant \(tenant.name) runs another number")
        }
        return faults + adapters.faults(live)
    }
}

extension AdapterStore {
    func faults(_ live: [LiveSequence]) -> [String] {
        var users: [UInt64: Int] = [:]
        for sequence in live { if let adapter = sequence.adapter { users[adapter.serial, default: 0] += 1 } }
        var faults: [String] = []
        for entry in present {
            if entry.users < users[entry.serial, default: 0] { faults.append("adapter \(entry.name) is miscounted") }
            if entry.users > 0, users[entry.serial] != nil, entry.adapter == nil {
                faults.append("adapter \(entry.name) is in use and not here")
            }
        }
        let sum = present.reduce(0) { $0 + $1.bytes }
        if sum != bytes { faults.append("the adapters' bytes are \(sum), not \(bytes)") }
        return faults
    }
}
