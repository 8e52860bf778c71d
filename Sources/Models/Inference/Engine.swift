// Continuous batching: every step runs one forward pass over all live sequences. Those that are answering take one row
// each; prompts fill what is left of the step in chunks, so a long prompt delays nobody by more than a step.
//
//     submit ─▶ queued ──a place, an adapter, pages──▶ prefilling ─▶ answering ─▶ finished
//                 ▲ └────────────────── cancel, from any state: gone before the next step ──┘
//                 └──────── preempted: pages given back, computed again later
//
// Synchronous, owned by one thread, without clock or file: adapters that it wants read are asked for (`takeLoads`) and
// handed back (`loaded`). Scheduler decides who, PageCache where, AdapterStore with which weights; the engine does it.
// None of that changes a bit of any answer.

package import Arithmetic
import Decoding
package import Primitives
import Tokenizers

package final class Engine {
    package let model: LoadedModel
    package let limits: EngineLimits
    package let instructionSet: InstructionSet
    let pool: PagePool
    let cache: PageCache
    let adapters: AdapterStore
    let transformer: Transformer
    /// Present where some layers are computed elsewhere.
    let relay: (any StageRelay)?
    let runs: [LayerRun]
    /// Set once layers are gone that nobody else computes: the engine is of no more use.
    package internal(set) var lost: StageFault?
    var scheduler: Scheduler
    var sampler: Sampler
    let endTokens: Set<Int32>
    /// The same, ascending.
    let ends: [Int32]
    /// Made for the first grammar.
    private var vocabulary: VocabularyTrie?
    var counters = EngineStatistics()
    /// In order of importance: the last one gives way first.
    var live: [LiveSequence] = []
    var queued: [SequenceID: LiveSequence] = [:]
    /// What is said with the next step.
    var outputs: [SequenceOutput] = []
    var failures: [(id: SequenceID, reason: FinishReason)] = []
    // Of the step that is being made; kept for their memory.
    var batch = Batch()
    var prefilling: [LiveSequence] = []
    private var nextID: UInt64 = 1
    private var lastStep: Instant?
    private var deadlines = 0

    /// - Parameter relay: for the layers that `model` lacks.
    package init(
        model: LoadedModel, limits: EngineLimits = EngineLimits(), pool workers: any WorkerPool = SerialPool(),
        instructionSet: InstructionSet = .best, relay: (any StageRelay)? = nil
    ) {
        let stages = relay?.stages.count ?? 0
        precondition(
            relay?.completes(model.range, of: model.config.layers) ?? (model.range.count == model.config.layers),
            "layers are neither here nor elsewhere")
        precondition(relay == nil || limits.cachePrecision == .f32, "stages keep keys and values in f32")
        self.relay = relay
        runs = Self.runs(model.range, relay)
        var limits = limits
        limits.sequencesMax = max(1, limits.sequencesMax)
        limits.stepTokensMax = max(limits.sequencesMax, limits.stepTokensMax)
        limits.promptTokensBesideAnswersMax = max(1, limits.promptTokensBesideAnswersMax)
        self.model = model
        self.limits = limits
        self.instructionSet = instructionSet
        pool = PagePool(
            config: model.config, bytesMax: limits.cacheBytesMax, precision: limits.cachePrecision,
            layers: model.range.count, stages: stages, countMax: relay?.pagesMax ?? .max)
        cache = PageCache(pool: pool, keeps: limits.keepsPages, notesCopies: relay != nil)
        adapters = AdapterStore(limits)
        scheduler = Scheduler(limits)
        transformer = Transformer(
            model: model, cache: pool, pool: workers, instructionSet: instructionSet, rowsMax: limits.stepTokensMax,
            logitRowsMax: limits.sequencesMax)
        sampler = Sampler(vocabulary: model.config.vocabulary, instructionSet: instructionSet)
        endTokens = model.endTokens
        ends = endTokens.sorted()
        batch.reserve(rows: limits.stepTokensMax, sequences: limits.sequencesMax)
        live.reserveCapacity(limits.sequencesMax)
        prefilling.reserveCapacity(limits.sequencesMax)
        outputs.reserveCapacity(limits.sequencesMax)
    }

    // MARK: Requests

    package var isIdle: Bool { live.isEmpty && queued.isEmpty && failures.isEmpty }
    package var liveCount: Int { live.count }
    package var queuedCount: Int { queued.count }
    /// Of pages that sequences hold.
    package var cacheBytesInUse: Int { pool.pagesHeld * pool.pageBytes }
    /// Of pages that are kept for prompts to come as well: never above `limits.cacheBytesMax`.
    package var cacheBytesKept: Int { (pool.pagesHeld + pool.pagesIdle) * pool.pageBytes }

    package func submit(_ request: GenerationRequest) throws(EngineFault) -> SequenceID {
        do throws(EngineFault) {
            return try take(request)
        } catch {
            counters.refusals &+= 1
            throw error
        }
    }

    private func take(_ request: GenerationRequest) throws(EngineFault) -> SequenceID {
        try request.check(model.config, limits)
        if relay != nil, request.adapter != nil || request.fusion != nil {
            throw .parameter(
                name: "model", reason: "is split over several peers, which have no adapters; ask for the model alone")
        }
        let tokensMax = min(request.tokensMax, model.config.contextTokens - request.prompt.count)
        let pages = PagePool.pages(positions: request.prompt.count + max(0, tokensMax - 1))
        guard pages <= pool.pagesMax else { throw .exceedsCache(pages: pages, pagesMax: pool.pagesMax) }
        var adapter: AdapterEntry?
        if let fusion = request.fusion {
            adapter = try adapters.entry(fusion)
        } else if let name = request.adapter {
            adapter = try adapters.entry(name)
        }
        let constraint = try constraint(request.grammar)
        let id = SequenceID(value: nextID)
        let tenant = try scheduler.offer(
            id, tenant: request.tenant, priority: request.priority, cost: request.prompt.count + tokensMax)
        nextID += 1
        let sequence = LiveSequence(
            id: id, request: request, tokensMax: tokensMax, tenant: tenant, adapter: adapter,
            decoder: model.tokenizer.map { StreamingDecoder($0) }, constraint: constraint)
        queued[id] = sequence
        if let adapter { adapters.wait(adapter, id, isNew: true) }
        if request.deadline != nil { deadlines += 1 }
        counters.requests &+= 1
        return id
    }

    private func constraint(_ grammar: Grammar?) throws(EngineFault) -> Constraint? {
        guard let grammar else { return nil }
        guard let tokenizer = model.tokenizer else {
            throw .parameter(name: "response_format", reason: "needs a model with a tokenizer")
        }
        let trie =
            vocabulary
            ?? VocabularyTrie(vocabulary: model.config.vocabulary, dropsFirstBlank: tokenizer.stripsFirstBlank) {
                tokenizer.bytes(of: $0)
            }
        vocabulary = trie
        do throws(ConstraintFault) {
            return try Constraint(grammar, vocabulary: trie, ends: ends)
        } catch {
            throw .parameter(name: "response_format", reason: "cannot be kept: \(error)")
        }
    }

    /// Forgets a sequence before the next step; answers false where it had finished.
    @discardableResult
    package func cancel(_ id: SequenceID) -> Bool {
        if let sequence = queued[id] {
            leaveQueue(sequence)
        } else if let index = live.firstIndex(where: { $0.id == id }) {
            let sequence = live.remove(at: index)
            letGo(sequence)
            scheduler.end(sequence.tenant)
        } else {
            return false
        }
        failures.removeAll { $0.id == id }
        counters.cancelled &+= 1
        return true
    }

    func leaveQueue(_ sequence: LiveSequence) {
        queued[sequence.id] = nil
        _ = scheduler.forget(sequence.id, sequence.tenant)
        if let adapter = sequence.adapter { adapters.stopWaiting(adapter, sequence.id) }
        if sequence.request.deadline != nil { deadlines -= 1 }
    }

    /// Gives back the pages and the adapter of a live sequence.
    func letGo(_ sequence: LiveSequence) {
        if var cursor = sequence.cursor {
            sequence.cursor = nil
            cache.release(&cursor)
        }
        sequence.weights = nil
        sequence.cached = 0
        if let adapter = sequence.adapter { adapters.stopUsing(adapter) }
    }

    /// Its share against that of tenants of weight one.
    package func weigh(tenant: String, as weight: Int) { scheduler.weigh(tenant, weight) }

    // MARK: Steps

    /// One forward pass. Answers what it did for each sequence that got something, in order of id; one whose draft was
    /// right gets several tokens.
    /// - Parameter now: for deadlines and for how soon a caller that is refused should come back. Without it nothing
    ///   expires.
    package func step(now: Instant? = nil) -> [SequenceOutput] {
        outputs.removeAll(keepingCapacity: true)
        if let now { expire(now) }
        tellFailures()
        adapters.begin()
        admit()
        assemble()
        compute()
        batch.clear()
        sortOutputs()
        if let now {
            if let lastStep { scheduler.measured(tokens: counters.batchTokens, over: now.since(lastStep)) }
            lastStep = live.isEmpty ? nil : now
        }
        return outputs
    }

    /// Nothing can be computed before an adapter is handed in or fails.
    package var isWaitingForAdapters: Bool {
        live.isEmpty && failures.isEmpty && !queued.isEmpty && adapters.loading > 0
            && !queued.values.contains(where: isReady)
    }

    func isReady(_ sequence: LiveSequence) -> Bool { sequence.adapter?.isReady(for: sequence.id) ?? true }

    private func expire(_ now: Instant) {
        guard deadlines > 0 else { return }
        let late = queued.values.filter { sequence in
            sequence.computed == 0 && sequence.request.deadline.map { $0 < now } ?? false
        }
        for sequence in late {
            leaveQueue(sequence)
            counters.expired &+= 1
            say(sequence.id, .expired)
        }
    }

    private func tellFailures() {
        guard !failures.isEmpty else { return }
        for failure in failures {
            guard let sequence = queued[failure.id] else { continue }
            leaveQueue(sequence)
            say(failure.id, failure.reason)
        }
        failures.removeAll()
    }

    private func say(_ id: SequenceID, _ reason: FinishReason) {
        var output = SequenceOutput(id: id)
        output.finish = reason
        outputs.append(output)
    }

    /// Called once a waiting sequence runs.
    func began(_ sequence: LiveSequence) { if sequence.request.deadline != nil { deadlines -= 1 } }

    /// Called once a running sequence waits again.
    func waitsAgain(_ sequence: LiveSequence) { if sequence.request.deadline != nil { deadlines += 1 } }

    package var statistics: EngineStatistics {
        var now = counters
        now.sequencesLive = live.count
        now.sequencesQueued = queued.count
        now.pagesHeld = pool.pagesHeld
        now.pagesIdle = pool.pagesIdle
        now.pagesMax = pool.pagesMax
        now.pageBytes = pool.pageBytes
        now.pageEvictions = cache.evictions
        adapters.describe(&now)
        return now
    }
}
