// Who is next, how long one waits, who is refused and with what.

import Arithmetic
import Decoding
import Primitives
import Testing

@testable import Inference

@Suite struct SchedulerTests {
    private func engine(_ change: (inout EngineLimits) -> Void = { _ in }) throws -> Engine {
        var limits = EngineLimits()
        change(&limits)
        return Engine(model: try Family("llama3").model, limits: limits)
    }

    private func request(
        _ tenant: String, tokens: Int = 8, prompt: Int = 5, priority: ServingPriority = .normal,
        deadline: Instant? = nil
    ) -> GenerationRequest {
        GenerationRequest(
            prompt: (0..<Int32(prompt)).map { 3 + ($0 * 31 + Int32(tenant.utf8.first ?? 0)) % 500 }, tokensMax: tokens,
            ignoresEnd: true, tenant: tenant, priority: priority, deadline: deadline)
    }

    /// Jain's index of what each got: 1 where all got the same.
    private func fairness(_ served: [Double]) -> Double {
        let sum = served.reduce(0, +), squares = served.reduce(0) { $0 + $1 * $1 }
        return squares > 0 ? sum * sum / (Double(served.count) * squares) : 1
    }

    /// One tenant floods the queue before the others come; from then on all have something waiting.
    @Test(arguments: [2, 8]) func aGreedyTenantGetsItsShare(places: Int) throws {
        let engine = try engine {
            $0.sequencesMax = places
            $0.fairnessTokens = 32
        }
        let names = ["greedy", "b", "c", "d"]
        var owners: [SequenceID: String] = [:]
        var served: [String: Double] = [:]
        func submit(_ name: String, _ tokens: Int) throws {
            owners[try engine.submit(request(name, tokens: tokens, prompt: 20))] = name
        }
        for _ in 0..<60 { try submit("greedy", 100) }
        for _ in 0..<40 { _ = engine.step() }
        for step in 0..<1500 {
            for (index, name) in names.enumerated() {
                let waiting = engine.queued.values.count { $0.request.tenant == name }
                if waiting < (index == 0 ? 40 : 2) { try submit(name, index == 0 ? 100 : 10 + 10 * index) }
            }
            for output in engine.step() where step >= 100 {
                if output.token != nil, let owner = owners[output.id] { served[owner, default: 0] += 1 }
            }
            #expect(engine.faults == [])
        }
        let shares = names.map { served[$0, default: 0] }
        #expect(fairness(shares) >= 0.95, "\(shares)")
    }

    @Test func weightsAreShares() throws {
        let engine = try engine { $0.sequencesMax = 1 }
        engine.weigh(tenant: "heavy", as: 3)
        var served: [String: Double] = [:]
        var owners: [SequenceID: String] = [:]
        for _ in 0..<600 {
            for name in ["heavy", "light"] where engine.queued.values.count(where: { $0.request.tenant == name }) < 2 {
                owners[try engine.submit(request(name))] = name
            }
            for output in engine.step() { if let owner = owners[output.id] { served[owner, default: 0] += 1 } }
        }
        let ratio = served["heavy", default: 0] / served["light", default: 1]
        #expect(ratio > 2.7 && ratio < 3.3, "\(ratio)")
    }

    /// Silence is not saved up: a tenant that comes late does not push the others aside.
    @Test func aNewcomerStartsLevel() throws {
        var scheduler = Scheduler(EngineLimits())
        var next: UInt64 = 0
        func offer(_ name: String) throws -> TenantIndex {
            next += 1
            return try scheduler.offer(SequenceID(value: next), tenant: name, priority: .normal, cost: 10)
        }
        let old = try offer("old")
        _ = try offer("old")
        for _ in 0..<3 {
            guard let first = scheduler.next(where: { _ in true }) else { break }
            scheduler.begin(first.waiting, first.tenant)
            scheduler.charge(first.tenant, tokens: 1000)
            if scheduler.waitingCount == 0 { _ = try offer("old") }
        }
        let new = try offer("new")
        #expect(scheduler.tenants[new.value].virtual == scheduler.tenants[old.value].virtual)
        #expect(scheduler.next { _ in true }?.tenant == old)
    }

    @Test func classesAreStrict() throws {
        let engine = try engine { $0.sequencesMax = 1 }
        let back = try engine.submit(request("a", tokens: 6, priority: .background))
        #expect(engine.step().map(\.id) == [back])
        let low = try engine.submit(request("a", tokens: 2, priority: .low))
        let high = try engine.submit(request("b", tokens: 2, priority: .high))
        let normal = try engine.submit(request("a", tokens: 2))
        var order: [SequenceID] = []
        while !engine.isIdle {
            for output in engine.step() where output.finish != nil { order.append(output.id) }
            #expect(engine.faults == [])
        }
        #expect(order == [high, normal, low, back])
        #expect(engine.statistics.preemptions == 1 && engine.statistics.recomputedTokens <= 6)
    }

    @Test func refusalsSayWhoseLimitAndHowLong() throws {
        let engine = try engine {
            $0.queueMax = 6
            $0.queuePerTenantMax = 4
            $0.sequencesMax = 1
        }
        for step in 0..<4 {
            _ = try engine.submit(request("a", tokens: 100))
            _ = engine.step(now: Instant.start + .milliseconds(100 * UInt64(step)))
        }
        _ = try engine.submit(request("a", tokens: 100))
        guard case .tenantQueueFull("a", 4, let wait)? = refusal(engine, request("a")) else {
            Issue.record("a tenant went over its limit")
            return
        }
        // Ten tokens a second and 105 a request: the next of four is gone in about ten seconds.
        #expect(wait > .seconds(5) && wait < .seconds(15), "\(wait)")
        _ = try engine.submit(request("b"))
        _ = try engine.submit(request("b"))
        guard case .queueFull(6, let span)? = refusal(engine, request("c")) else {
            Issue.record("the queue went over its limit")
            return
        }
        #expect(span >= .seconds(1) && engine.statistics.refusals == 2)
        #expect(EngineFault.queueFull(limit: 6, retryAfter: span).retryAfter == span)
    }

    private func refusal(_ engine: Engine, _ request: GenerationRequest) -> EngineFault? {
        do throws(EngineFault) {
            _ = try engine.submit(request)
            return nil
        } catch {
            return error
        }
    }

    @Test func waitingEndsAtTheDeadline() throws {
        let engine = try engine { $0.sequencesMax = 1 }
        let first = try engine.submit(request("a", tokens: 50, deadline: .start + .seconds(1)))
        _ = engine.step(now: .start)
        let late = try engine.submit(request("b", tokens: 5, deadline: .start + .seconds(2)))
        let patient = try engine.submit(request("b", tokens: 5, deadline: .start + .seconds(60)))
        // One that runs does not expire; what waits does, at the first step behind its deadline.
        #expect(engine.step(now: .start + .seconds(2)).map(\.id) == [first])
        let outputs = engine.step(now: .start + .seconds(3))
        #expect(outputs.first { $0.id == late }?.finish == .expired)
        #expect(outputs.contains { $0.id == first && $0.finish == nil })
        #expect(!engine.cancel(late))
        var ended: [SequenceID: FinishReason] = [:]
        while !engine.isIdle {
            for output in engine.step(now: .start + .seconds(4)) {
                ended[output.id] = output.finish ?? ended[output.id]
            }
        }
        #expect(ended[patient] == .length && engine.statistics.expired == 1)
    }

    /// A long prompt comes in while another answers: the answer has its token at every step.
    @Test func promptsDoNotStopAnswers() throws {
        let engine = try engine {
            $0.promptTokensBesideAnswersMax = 8
            $0.fairnessTokens = 0
        }
        let answering = try engine.submit(request("a", tokens: 40))
        _ = engine.step()
        let long = try engine.submit(request("b", tokens: 2, prompt: 100))
        for _ in 0..<12 {
            #expect(engine.step().map(\.id) == [answering])
            #expect(engine.statistics.batchTokens == 9)
        }
        #expect(engine.step().map(\.id) == [answering, long])
    }

    /// The queue is long and changes all the time; a tenant that was idle is forgotten, not its place in the count.
    @Test func tenantsAreBounded() throws {
        var limits = EngineLimits()
        limits.tenantsMax = 8
        var scheduler = Scheduler(limits)
        for index in 0..<1000 {
            let id = SequenceID(value: UInt64(index + 1))
            let tenant = try scheduler.offer(id, tenant: "t\(index)", priority: .normal, cost: 5)
            if index.isMultiple(of: 3) {
                let wasWaiting = scheduler.forget(id, tenant)
                #expect(wasWaiting)
            } else if let next = scheduler.next(where: { $0 == id }) {
                scheduler.begin(next.waiting, next.tenant)
                scheduler.charge(tenant, tokens: 7)
                scheduler.end(tenant)
            }
        }
        #expect(scheduler.tenants.count == 8 && scheduler.waitingCount == 0)
    }
}
