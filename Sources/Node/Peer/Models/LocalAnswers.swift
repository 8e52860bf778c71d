// Free answers for this home's own doors: the same engines, no order and no receipt. What a request asks for and the sampler
// does not have is refused by the field's name.

import Decoding
import Gateway
import Inference
package import Primitives
import Records
import Tokenizers

extension InferenceService {
    /// Answers from this peer's own kernels. Returns once the request is in the engine; ending the iteration cancels it.
    /// - Parameters:
    ///   - name: the model as it was resolved, for the answer.
    ///   - adapter: one at its whole weight; nil where there is none, or `merged` has several.
    ///   - merged: what `request.merge` names, in its order.
    ///   - datanet: the datanet that `request.datanet` names; where it is nil, that must be an id itself.
    package func generate(
        _ request: AnswerRequest, model: CID, adapter: CID?, merged: [CID] = [], name: String, datanet: Digest? = nil
    ) async throws(AnswerFault) -> Answer {
        let pending = begin(request, model: model, adapter: adapter, merged: merged, datanet: datanet)
        // Ends without a word when this task is cancelled.
        for await outcome in pending.outcome {
            if let fault = outcome { throw fault.answerFault }
            return Answer(
                requestID: Self.requestID(), model: name, servedBy: peer, isLocal: true, receiptID: nil,
                events: pending.events)
        }
        pending.token.cancel()
        throw JobFault(.unavailable, "cancelled", "nobody waits for the answer").answerFault
    }

    /// Everything before the wait.
    private func begin(
        _ request: AnswerRequest, model: CID, adapter: CID?, merged: [CID], datanet: Digest?
    ) -> PendingAnswer {
        // The stream can hold all that the context allows, so nothing is ever dropped.
        let context = shelf.entry(model)?.contextLength ?? 0
        let choices = min(max(1, request.choices), LocalPlan.choicesMax)
        let (stream, continuation) = AsyncThrowingStream.makeStream(
            of: AnswerEvent.self,
            bufferingPolicy: .bufferingOldest(choices * (context + LocalPlan.eventsBesidesTokens)))
        let (outcome, said) = AsyncStream.makeStream(of: JobFault?.self, bufferingPolicy: .bufferingOldest(1))
        let token = JobToken()
        let pending = PendingAnswer(token: token, outcome: outcome, events: stream)
        let limits = limits
        continuation.onTermination = { _ in token.cancel() }
        let plan: LocalPlan
        do throws(JobFault) {
            plan = try LocalPlan(request, adapter: adapter, merged: merged, datanet: datanet)
            guard let entry = shelf.entry(model), entry.kind == .model else {
                throw JobFault(.unknown(model), code: "model")
            }
            guard entry.family != FolderCheck.embedderFamily else {
                throw JobFault(
                    .invalid, "not_a_text_model", "\(entry.name) gives vectors, not text; ask /v1/embeddings",
                    parameter: "model")
            }
            for adapter in plan.adapters where shelf.entry(adapter)?.kind != .adapter {
                throw JobFault(.unknown(adapter), code: "adapter")
            }
        } catch {
            said.yield(error)
            return pending
        }
        let key = EngineKey(model: model, form: form(of: model))
        run(
            on: key, question: plan.form.question,
            datanet: plan.datanet
        ) {
            said.yield($0)
        } job: { found in
            EngineJob(
                token: token, adapters: plan.adapters,
                begin: { [weak self] model throws(JobFault) in
                    let weigh = found.flatMap { self?.weigher(of: plan, on: key, $0) }
                    return try plan.start(found, model: model, limits: limits, weigh, continuation) {
                        said.yield(nil)
                    }
                }, refuse: { said.yield($0) }, ended: {})
        }
        return pending
    }

    /// From an answer to its sources: those of a paid one, without a receipt.
    private func weigher(of plan: LocalPlan, on key: EngineKey, _ found: Found) -> AnswerTeller.Weigh {
        { [weak self] stood, answer, done in
            guard let self else { return done([]) }
            let weighing = plan.weighing(key, found, stood: stood, answer: answer)
            self.weigh(weighing) { result in
                switch result {
                case .success(let weighed): done(weighed.rows.map { AnswerData.source($0, of: found.datanet) })
                case .failure: done([])
                }
            }
        }
    }

    private static func requestID() -> String {
        var random = SystemRandomNumberGenerator()
        return Hex.encode((0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }

    // MARK: Tokens

    package func tokenize(_ text: String, addSpecialTokens: Bool, model: CID) async throws(AnswerFault) -> [UInt32] {
        try await texts.with(model, on: shelf) { tool in
            tool.tokenizer.encode(text, addSpecial: addSpecialTokens).map(UInt32.init(bitPattern:))
        }.answered()
    }

    /// Through the model's chat template; `extras` become its variables.
    package func tokenize(
        _ messages: [AnswerMessage], addGenerationPrompt: Bool, extras: [String: JSONValue], model: CID
    ) async throws(AnswerFault) -> [UInt32] {
        try await texts.with(model, on: shelf) { tool throws(JobFault) in
            guard let template = tool.template else {
                throw JobFault(
                    .invalid, "template", "this model has no chat template; send a text", parameter: "messages")
            }
            do {
                let text = try template.render(
                    messages.map { Tokenizers.ChatMessage($0) },
                    addGenerationPrompt: addGenerationPrompt,
                    extra: extras.sorted { $0.key < $1.key }.map { JSONMember($0.key, $0.value) })
                return tool.tokenizer.encode(text, addSpecial: false).map(UInt32.init(bitPattern:))
            } catch {
                throw JobFault(
                    .invalid, "template", "the model's chat template refuses: \(error)", parameter: "messages")
            }
        }.answered()
    }

    /// Special tokens are kept.
    package func detokenize(_ tokens: [UInt32], model: CID) async throws(AnswerFault) -> String {
        try await texts.with(model, on: shelf) { tool throws(JobFault) in
            let ids = try tokens.map { token throws(JobFault) in
                guard let id = Int32(exactly: token), Int(id) < tool.tokenizer.vocabularyCount else {
                    throw JobFault(
                        .invalid, "token_out_of_range",
                        "token \(token) is not in a vocabulary of \(tool.tokenizer.vocabularyCount)",
                        parameter: "tokens")
                }
                return id
            }
            return tool.tokenizer.decode(ids, skipSpecial: false)
        }.answered()
    }
}

/// A request that the sampler can do.
struct LocalPlan: Sendable {
    /// Sources, usage and each choice's end, with room to spare.
    static let eventsBesidesTokens = 8
    static let choicesMax = 128

    let request: AnswerRequest
    let form: PromptForm
    let datanet: Digest?
    /// All that the answer needs, each once.
    let adapters: [CID]
    private let adapter: CID?
    private let fusion: AdapterFusion?
    private let bias: [TokenBias]
    private let grammar: Grammar?
    private let seed: UInt64

    init(_ request: AnswerRequest, adapter: CID?, merged: [CID], datanet: Digest?) throws(JobFault) {
        self.request = request
        self.adapter = adapter
        adapters = adapter.map { [$0] } ?? merged
        let seed = request.sampling.seed ?? UInt64.random(in: .min ... .max)
        self.seed = seed
        fusion = request.merge.map { AdapterFusion($0, merged, seed: seed) }
        bias = try Self.bias(request.sampling)
        grammar = try Self.grammar(request)
        guard (1...Self.choicesMax).contains(request.choices) else {
            throw JobFault(.invalid, "out_of_range", "n must be between 1 and \(Self.choicesMax)", parameter: "n")
        }
        if let most = request.tokensMax, most < 0 || (most == 0 && !request.echo) {
            throw JobFault(.invalid, "out_of_range", "max_tokens must be at least 1", parameter: "max_tokens")
        }
        switch request.prompt {
        case .messages(let messages):
            form = .messages(
                messages.map { Tokenizers.ChatMessage($0) }, tools: request.tools?.functions.map(\.json) ?? [])
        case .text(let text): form = .text(text)
        case .tokens(let tokens): form = .tokens(tokens)
        }
        guard let named = request.datanet, datanet == nil else {
            self.datanet = datanet
            return
        }
        guard let bytes = Hex.decode(named), let id = Digest(bytes) else {
            throw JobFault(
                .missing, "datanet_missing", "there is no datanet \"\(named.prefix(80))\" here", parameter: "datanet")
        }
        self.datanet = id
    }

    private static func grammar(_ request: AnswerRequest) throws(JobFault) -> Grammar? {
        guard let tools = request.tools, let forced = ForcedToolCall(tools.choice) else {
            return try request.format.map { format throws(JobFault) in try grammar(format) }
        }
        let known = tools.functions.map { (name: $0.name, parameters: $0.parameters) }
        guard let schema = forced.schema(known, isParallel: tools.isParallel) else { return nil }
        do throws(JobFault) {
            return try grammar(.jsonSchema(schema))
        } catch {
            throw JobFault(
                .invalid, "invalid_value", "tools: the arguments' schema cannot be kept: \(error.message)",
                parameter: "tools")
        }
    }

    static func grammar(_ format: AnswerForm) throws(JobFault) -> Grammar {
        do {
            switch format {
            case .jsonObject: return try .json(.object)
            case .jsonSchema(let schema): return try .schema(schema)
            case .grammar(let text): return try .gbnf(text)
            }
        } catch {
            throw JobFault(
                .invalid, "invalid_value", "response_format: \(error)", parameter: "response_format")
        }
    }

    /// By token, so that the same request is the same whatever order it was written in.
    private static func bias(_ sampling: SamplingParameters) throws(JobFault) -> [TokenBias] {
        var bias: [TokenBias] = []
        for (token, value) in sampling.logitBias.sorted(by: { $0.key < $1.key }) {
            guard let id = Int32(exactly: token) else {
                throw JobFault(
                    .invalid, "token_out_of_range", "logit_bias names token \(token), which is in no vocabulary",
                    parameter: "logit_bias")
            }
            bias.append(TokenBias(token: id, bias: Float(value)))
        }
        return bias
    }

    /// On the engine's thread.
    func start(
        _ found: Found?, model: LoadedModel, limits: EngineLimits, _ weigh: AnswerTeller.Weigh?,
        _ events: AsyncThrowingStream<AnswerEvent, any Error>.Continuation, accepted: @escaping () -> Void
    ) throws(JobFault) -> StartedJob {
        let written = try PromptWriter.write(form, found, model: model, answerTokensMax: request.tokensMax)
        let tokensMax = request.tokensMax ?? Self.room(after: written.tokens.count, model, limits)
        let requests = (0..<request.choices).map { choice in
            var asked = Inference.GenerationRequest(
                prompt: written.tokens, adapter: adapter?.text, tokensMax: tokensMax,
                sampling: sampling(choice: UInt32(choice)), stop: request.stop,
                ignoresEnd: request.ignoreEndOfSequence, logProbabilities: request.logProbabilities,
                scoresPrompt: request.echo && (request.logProbabilities != nil || tokensMax == 0), fusion: fusion,
                tenant: request.tenant ?? "", cacheDomain: cacheDomain)
            asked.grammar = grammar
            asked.spans = found?.spans
            return asked
        }
        let teller = AnswerTeller(
            request, prompt: written.tokens, stood: written.passages.map(\.ordinal), tokenizer: model.tokenizer,
            toolForm: model.template?.toolForm, weigh, events)
        return StartedJob(requests: requests, accepted: accepted) { teller.tell($0) }
    }

    func weighing(_ key: EngineKey, _ found: Found, stood: [UInt64], answer: [Int32]) -> WeighingPlan {
        WeighingPlan(
            key: key, adapters: adapters, adapter: adapter?.text, fusion: fusion, form: form, found: found,
            stood: stood,
            answerTokensMax: request.tokensMax, answer: answer, seed: AnswerData.query(found, salt: []),
            cacheDomain: cacheDomain, kinds: nil)
    }

    private func sampling(choice: UInt32) -> Sampling {
        let asked = request.sampling
        return Sampling(
            temperature: Float(asked.temperature), topK: asked.topK, topP: Float(asked.topP), minP: Float(asked.minP),
            presencePenalty: Float(asked.presencePenalty), frequencyPenalty: Float(asked.frequencyPenalty),
            repetitionPenalty: Float(asked.repetitionPenalty), logitBias: bias, seed: seed, choice: choice)
    }

    /// A tenant shares the beginnings of its prompts with itself only: the start of its key's digest. 0: this home.
    private var cacheDomain: UInt32 {
        request.tenant.flatMap { UInt32($0.prefix(8), radix: 16) } ?? 0
    }

    /// What the context leaves, as far as the cache could ever hold it.
    private static func room(after prompt: Int, _ model: LoadedModel, _ limits: EngineLimits) -> Int {
        let positions =
            limits.cacheBytesMax / max(1, model.config.cacheBytesPerPosition(limits.cachePrecision)) / 16 * 16
        return max(1, min(model.config.contextTokens, positions) - prompt)
    }
}

extension AdapterFusion {
    /// - Parameter adapters: what `merge` names, in its order.
    fileprivate init(_ merge: AnswerMerge, _ adapters: [CID], seed: UInt64) {
        let density = merge.density
        let sign = MajoritySign(rawValue: merge.majoritySign.rawValue) ?? .total
        let method: Method =
            switch merge.strategy {
            case .linear: .linear
            case .ties: .ties(density: density, sign: sign)
            case .dareLinear: .dareLinear(density: density, seed: seed)
            case .dareTies: .dareTies(density: density, seed: seed, sign: sign)
            }
        self.init(
            parts: zip(adapters, merge.weights).map { Part(adapter: $0.text, weight: $1) }, method: method)
    }
}

/// An answer that is not yet accepted.
private struct PendingAnswer {
    let token: JobToken
    /// One value: nil where the engine took the request, else why not.
    let outcome: AsyncStream<JobFault?>
    let events: AsyncThrowingStream<AnswerEvent, any Error>
}

extension Result where Failure == JobFault {
    fileprivate func answered() throws(AnswerFault) -> Success {
        switch self {
        case .success(let value): return value
        case .failure(let fault): throw fault.answerFault
        }
    }
}
