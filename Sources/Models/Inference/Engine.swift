// Continuous batching: every step runs one forward pass over all live sequences. Those that are answering take one row
// each;
// prompts fill what is left of the step in chunks, oldest first, so a long prompt delays nobody by more than a step.
//
//     submit -> queued -> (pages taken) -> prefilling -> answering -> finished
//                 \___________ cancel, from any state: gone before the next step ___________/
//
// Synchronous, owned by one thread. Full is an answer: a queue or a cache that has no room refuses by name.

import Tokenizers
import Decoding
package import Arithmetic

package final class Engine {
    package let model: LoadedModel
    package let limits: EngineLimits
    package let instructionSet: InstructionSet
    private let cache: PagePool
    private let transformer: Transformer
    private var sampler: Sampler
    private var adapters: [String: LoadedAdapter] = [:]
    private let endTokens: Set<Int32>
    private var nextID: UInt64 = 1
    private var queue: [LiveSequence] = []
    private var live: [LiveSequence] = []
    private var batchTokens: [Int32] = []
    private var batch: [BatchSegment] = []
    private var wanted: [(row: Int, sequence: LiveSequence, position: Int)] = []
    private var wantedRows: [Int] = []

    package init(
        model: LoadedModel, limits: EngineLimits = EngineLimits(), pool: any WorkerPool = SerialPool(),
        instructionSet: InstructionSet = .best
    ) {
        var limits = limits
        limits.sequencesMax = max(1, limits.sequencesMax)
        limits.stepTokensMax = max(limits.sequencesMax, limits.stepTokensMax)
        self.model = model
        self.limits = limits
        self.instructionSet = instructionSet
        cache = PagePool(config: model.config, bytesMax: limits.cacheBytesMax)
        transformer = Transformer(
            model: model, cache: cache, pool: pool, instructionSet: instructionSet, rowsMax: limits.stepTokensMax,
            logitRowsMax: limits.sequencesMax)
        sampler = Sampler(vocabulary: model.config.vocabulary, instructionSet: instructionSet)
        endTokens = model.endTokens
        batchTokens.reserveCapacity(limits.stepTokensMax)
    }

    deinit {
        for sequence in live { release(sequence) }
    }

    // MARK: Adapters

    package var adapterNames: [String] { adapters.keys.sorted() }

    package func register(_ adapter: LoadedAdapter, as name: String) throws(EngineFault) {
        guard adapters[name] == nil else { throw .adapterKnown(name) }
        guard adapters.count < limits.adaptersMax else { throw .adaptersFull(limit: limits.adaptersMax) }
        guard adapter.updates.count == model.config.layers else {
            throw .parameter(name: "adapter \"\(name)\"", reason: "was loaded for another model")
        }
        adapters[name] = adapter
    }

    /// Running sequences keep the adapter that they began with.
    package func unregister(_ name: String) { adapters[name] = nil }

    // MARK: Requests

    package var isIdle: Bool { live.isEmpty && queue.isEmpty }
    package var liveCount: Int { live.count }
    package var queuedCount: Int { queue.count }
    package var cacheBytesInUse: Int { cache.pagesInUse * cache.pageBytes }

    package func submit(_ request: GenerationRequest) throws(EngineFault) -> SequenceID {
        let context = model.config.contextTokens
        guard !request.prompt.isEmpty else { throw .promptEmpty }
        guard request.prompt.count < context || (request.prompt.count == context && request.tokensMax == 0) else {
            throw .promptTooLong(tokens: request.prompt.count, contextTokens: context)
        }
        if let token = request.prompt.first(where: { $0 < 0 || Int($0) >= model.config.vocabulary }) {
            throw .tokenOutOfRange(token: token, vocabulary: model.config.vocabulary)
        }
        try check(request)
        var adapter: LoadedAdapter?
        if let name = request.adapter {
            guard let found = adapters[name] else { throw .adapterUnknown(name) }
            adapter = found
        }
        let tokensMax = min(request.tokensMax, context - request.prompt.count)
        // The last token generated is never read back: it needs no place.
        let pages = PagePool.pages(positions: request.prompt.count + max(0, tokensMax - 1))
        guard pages <= cache.pagesMax else { throw .exceedsCache(pages: pages, pagesMax: cache.pagesMax) }
        guard queue.count < limits.queueMax else { throw .queueFull(limit: limits.queueMax) }
        let id = SequenceID(value: nextID)
        nextID += 1
        queue.append(
            LiveSequence(
                id: id, request: request, tokensMax: tokensMax, pagesNeeded: pages, adapter: adapter,
                decoder: model.tokenizer.map { StreamingDecoder($0) }))
        return id
    }

    private func check(_ request: GenerationRequest) throws(EngineFault) {
        let sampling = request.sampling
        guard sampling.temperature >= 0, sampling.temperature <= 100 else {
            throw .parameter(name: "temperature", reason: "must be between 0 and 100")
        }
        guard sampling.topP > 0, sampling.topP <= 1 else {
            throw .parameter(name: "top_p", reason: "must be above 0 and at most 1")
        }
        guard sampling.topK >= 0 else { throw .parameter(name: "top_k", reason: "must not be negative") }
        guard request.tokensMax >= 0, request.tokensMax > 0 || request.scoresPrompt else {
            throw .parameter(name: "max_tokens", reason: "must be at least 1")
        }
        guard (0...limits.topLogProbabilitiesMax).contains(request.logProbabilities ?? 0) else {
            throw .parameter(name: "top_logprobs", reason: "must be between 0 and \(limits.topLogProbabilitiesMax)")
        }
        guard request.stop.count <= limits.stopStringsMax,
            request.stop.allSatisfy({ $0.utf8.count <= limits.stopStringBytesMax })
        else {
            throw .parameter(
                name: "stop",
                reason: "takes at most \(limits.stopStringsMax) strings of \(limits.stopStringBytesMax) bytes")
        }
    }

    /// Forgets a sequence before the next step; answers false where it had finished.
    @discardableResult
    package func cancel(_ id: SequenceID) -> Bool {
        if let index = queue.firstIndex(where: { $0.id == id }) {
            queue.remove(at: index)
            return true
        }
        guard let index = live.firstIndex(where: { $0.id == id }) else { return false }
        release(live.remove(at: index))
        return true
    }

    private func release(_ sequence: LiveSequence) {
        if let pages = sequence.pages { cache.give(pages) }
        sequence.pages = nil
    }

    // MARK: Steps

    /// One forward pass. Answers what it did for each sequence that got something, in order of id.
    package func step() -> [SequenceOutput] {
        admit()
        assemble()
        guard !batch.isEmpty else { return [] }
        transformer.forward(tokens: batchTokens, segments: batch)
        var outputs: [SequenceOutput] = []
        outputs.reserveCapacity(live.count)
        var at = 0
        while at < wanted.count {
            let end = min(wanted.count, at + limits.sequencesMax)
            transformer.computeLogits(of: wantedRows[at..<end])
            for index in at..<end {
                let logits = UnsafePointer(transformer.logits + (index - at) * transformer.logitStride)
                if let output = advance(wanted[index].sequence, logits, position: wanted[index].position) {
                    outputs.append(output)
                }
            }
            at = end
        }
        batch.removeAll(keepingCapacity: true)
        for sequence in live where sequence.isFinished { release(sequence) }
        live.removeAll(where: \.isFinished)
        outputs.sort { $0.id < $1.id }
        return outputs
    }

    private func admit() {
        while let next = queue.first, live.count < limits.sequencesMax, let pages = cache.take(next.pagesNeeded) {
            next.pages = pages
            live.append(next)
            queue.removeFirst()
        }
    }

    private func assemble() {
        batchTokens.removeAll(keepingCapacity: true)
        wanted.removeAll(keepingCapacity: true)
        wantedRows.removeAll(keepingCapacity: true)
        for answering in [true, false] {
            for sequence in live where sequence.isAnswering == answering {
                let count = min(sequence.tokens.count - sequence.cached, limits.stepTokensMax - batchTokens.count)
                guard count > 0, let pages = sequence.pages else { continue }
                let row = batchTokens.count
                batchTokens += sequence.tokens[sequence.cached..<sequence.cached + count]
                batch.append(
                    BatchSegment(
                        pages: pages, start: sequence.cached, count: count, row: row, adapter: sequence.adapter))
                for offset in 0..<count {
                    let position = sequence.cached + offset
                    let isLast = position == sequence.tokens.count - 1
                    if isLast || (sequence.request.scoresPrompt && !answering) {
                        wanted.append((row + offset, sequence, position))
                        wantedRows.append(row + offset)
                    }
                }
                sequence.cached += count
            }
        }
    }

    /// Takes the logits after `position` into the sequence.
    private func advance(_ sequence: LiveSequence, _ logits: UnsafePointer<Float>, position: Int) -> SequenceOutput? {
        guard !sequence.isFinished else { return nil }
        let request = sequence.request, promptCount = request.prompt.count
        if position < promptCount - 1 {
            sequence.promptScores.append(score(logits, request.prompt[position + 1], request))
            return nil
        }
        var output = SequenceOutput(id: sequence.id)
        if position == promptCount - 1, request.scoresPrompt {
            output.prompt = [GeneratedToken(id: request.prompt[0], logProbability: nil, alternatives: [])]
            output.prompt += sequence.promptScores
        }
        guard sequence.tokensMax > 0 else {
            finish(sequence, .length, &output)
            return output
        }
        guard let token = sampler.sample(logits, request.sampling, position: position + 1) else {
            finish(sequence, .notFinite, &output)
            return output
        }
        output.token =
            request.logProbabilities == nil
            ? GeneratedToken(id: token, logProbability: nil, alternatives: []) : score(logits, token, request)
        sequence.isAnswering = true
        sequence.tokens.append(token)
        if endTokens.contains(token), !request.ignoresEnd {
            finish(sequence, .end, &output)
            return output
        }
        let (text, stopped) = sequence.stop.add(sequence.decoder?.add(token) ?? "")
        output.text = text
        if stopped {
            sequence.isFinished = true
            output.finish = .stop
        } else if sequence.tokens.count - promptCount == sequence.tokensMax {
            finish(sequence, .length, &output)
        }
        return output
    }

    private func score(_ logits: UnsafePointer<Float>, _ token: Int32, _ request: GenerationRequest) -> GeneratedToken {
        let (chosen, top) = sampler.logProbabilities(logits, of: token, top: request.logProbabilities ?? 0)
        return GeneratedToken(id: token, logProbability: chosen, alternatives: top)
    }

    /// Ends a sequence and shows the text that was held back.
    private func finish(_ sequence: LiveSequence, _ reason: FinishReason, _ output: inout SequenceOutput) {
        sequence.isFinished = true
        let (text, stopped) = sequence.stop.add(sequence.decoder?.finish() ?? "")
        output.text += text
        if stopped {
            output.finish = .stop
        } else {
            output.text += sequence.stop.finish()
            output.finish = reason
        }
    }
}

/// A request on its way to an answer.
private final class LiveSequence {
    let id: SequenceID
    let request: GenerationRequest
    let tokensMax: Int
    let pagesNeeded: Int
    let adapter: LoadedAdapter?
    var pages: PageTable?
    /// Prompt and answer; the first `cached` of them are in the cache.
    var tokens: [Int32]
    var cached = 0
    var isAnswering = false
    var isFinished = false
    var promptScores: [GeneratedToken] = []
    var decoder: StreamingDecoder?
    var stop: StopText

    init(
        id: SequenceID, request: GenerationRequest, tokensMax: Int, pagesNeeded: Int, adapter: LoadedAdapter?,
        decoder: StreamingDecoder?
    ) {
        self.id = id
        self.request = request
        self.tokensMax = tokensMax
        self.pagesNeeded = pagesNeeded
        self.adapter = adapter
        self.decoder = decoder
        stop = StopText(request.stop)
        tokens = request.prompt
        tokens.reserveCapacity(request.prompt.count + tokensMax)
    }
}
