// Paid answers: a neighbour's order, or this peer's own to itself, from `AskOrder` to news for the node. What the order
// names and this peer cannot do to the letter is refused by a code, before a token is made.

import Arithmetic
import Attribution
import Decoding
import Inference
import Ledger
import ModelFiles
package import NodeCore
import Primitives
import Records
import Synchronization
import Tokenizers
import Training

extension InferenceService {
    /// Runs an order. `news` comes from the engine's thread or the caller's: `started`, tokens and `finished`, or `failed`
    /// at any point.
    package func generate(
        _ order: AskOrder, ticket: Ticket, news: @escaping @Sendable (GenerationNews) -> Void
    ) {
        let token = JobToken()
        let refuse: @Sendable (JobFault) -> Void = { fault in
            news(token.isCancelled ? .finished(.cancelled) : .failed(code: fault.code, message: fault.message))
        }
        // A grammar takes a while to compile, and this is the node's loop.
        guard order.settings.form == nil else {
            orders.withLock { $0[ticket] = token }
            return aside { [weak self] in
                self?.orders.withLock { $0[ticket] = nil }
                refuse($0)
            } work: { service in
                service.generate(order, ticket: ticket, token, refuse, news)
            }
        }
        generate(order, ticket: ticket, token, refuse, news)
    }

    private func generate(
        _ order: AskOrder, ticket: Ticket, _ token: JobToken, _ refuse: @escaping @Sendable (JobFault) -> Void,
        _ news: @escaping @Sendable (GenerationNews) -> Void
    ) {
        let plan: OrderPlan
        do throws(JobFault) {
            // To others what is withheld is not here.
            for use in order.adapters where order.payer.text != peer && shelf.entry(use.adapter)?.isWithheld == true {
                throw JobFault(.unknown(use.adapter), code: "adapter")
            }
            plan = try OrderPlan(order, shelf: shelf)
        } catch {
            orders.withLock { $0[ticket] = nil }
            return refuse(error)
        }
        orders.withLock { $0[ticket] = token }
        let forget: @Sendable () -> Void = { [weak self] in _ = self?.orders.withLock { $0.removeValue(forKey: ticket) }
        }
        @Sendable func job(_ found: Found?, _ own: OwnRows?) -> EngineJob {
            EngineJob(
                token: token, adapters: order.adapters.map(\.adapter),
                begin: { model throws(JobFault) in try plan.start(found, own, model: model, news: news) },
                refuse: refuse, ended: forget)
        }
        let refuseAndForget: @Sendable (JobFault) -> Void = { fault in
            forget()
            refuse(fault)
        }
        guard order.datanet == nil, let adapter = plan.ownAdapter else {
            return run(
                on: plan.key, question: plan.form.question, datanet: order.datanet, refuse: refuseAndForget
            ) { job($0, nil) }
        }
        aside(refuseAndForget) { service in
            service.hand(job(nil, service.ownRows(of: adapter, for: plan.key.model)), to: plan.key)
        }
    }

    /// The rows that an adapter was trained on, where its manifest names a snapshot.
    private func ownRows(of adapter: CID, for model: CID) -> OwnRows? {
        guard let snapshot = influences.manifest(of: adapter, on: shelf)?.datanet else { return nil }
        var own = OwnRows(snapshot: snapshot)
        if let held = try? library.held(nil, at: snapshot) {
            own.spans = evidence.present(held, for: model, on: shelf, from: library)?.corpus
        }
        return own
    }

    /// Ends an answer before the next step: `finished(.cancelled)` follows, unless it had ended.
    package func stop(_ ticket: Ticket) { orders.withLock { $0[ticket] }?.cancel() }
}

/// An order that this peer can do.
struct OrderPlan: Sendable {
    let order: AskOrder
    let key: EngineKey
    let form: PromptForm
    let model: ModelUse
    private let sampling: Sampling
    private let tokensMax: Int
    let fusion: AdapterFusion?
    /// The only one that answers.
    var ownAdapter: CID? { fusion == nil ? order.adapters.first?.adapter : nil }
    private let grammar: Grammar?
    /// Strangers' prompts share no beginnings with this home's.
    private static let cacheDomain: UInt32 = 1

    init(_ order: AskOrder, shelf: ModelShelf) throws(JobFault) {
        self.order = order
        var model = ModelUse(
            weights: order.model, owner: nil, tokenizer: nil, template: nil, adapters: order.adapters,
            fusion: order.fusion, precision: order.precision, numerics: KernelNumerics.revision)
        let demand = try Self.demand(model, seed: order.decoding.seed, shelf: shelf)
        key = demand.key
        fusion = demand.fusion
        model.tokenizer = demand.tokenizer
        model.template = demand.template
        self.model = model
        sampling = try Self.sampling(order.decoding, bias: order.settings.bias, choice: order.settings.choice)
        grammar = try order.settings.form.map { form throws(JobFault) in try form.grammar() }
        tokensMax = Int(clamping: order.decoding.maxTokens)
        switch order.prompt {
        case .messages(let messages):
            form = .messages(messages.map { Tokenizers.ChatMessage(role: $0.role, content: $0.content) })
        case .text(let text): form = .text(text)
        case .tokens(let tokens): form = .tokens(tokens)
        }
    }

    /// The engine that has what is named, to the letter, and what goes with the model.
    /// - Parameter seed: DARE's, of a fusion.
    static func demand(
        _ model: ModelUse, seed: UInt64, shelf: ModelShelf
    ) throws(JobFault) -> (key: EngineKey, tokenizer: CID?, template: CID?, fusion: AdapterFusion?) {
        guard let form = ComputeForm(text: model.precision) else {
            throw JobFault(.invalid, "precision", "this peer does not compute in \(model.precision)")
        }
        guard let entry = shelf.entry(model.weights), entry.kind == .model else {
            throw JobFault(.unknown(model.weights), code: "model")
        }
        let fusion = try fusion(model, seed: seed)
        for use in model.adapters where shelf.entry(use.adapter)?.kind != .adapter {
            throw JobFault(.unknown(use.adapter), code: "adapter")
        }
        // A GGUF has all of them in one file.
        let packed = entry.folder.file(GGUFFile.name)?.root
        return (
            EngineKey(model: model.weights, form: form),
            entry.folder.file(Tokenizer.file)?.root ?? packed,
            entry.folder.file("chat_template.jinja")?.root ?? packed, fusion
        )
    }

    private static func fusion(_ model: ModelUse, seed: UInt64) throws(JobFault) -> AdapterFusion? {
        guard let text = model.fusion else {
            guard model.adapters.count <= 1, model.adapters.first?.weight ?? 1_000_000 == 1_000_000 else {
                throw JobFault(.invalid, "fusion", "several adapters, or a weight, need the name of a fusion")
            }
            return nil
        }
        guard let fusion = OrderFusion(text: text), !model.adapters.isEmpty else {
            throw JobFault(
                .invalid, "fusion", "there is no fusion \"\(text)\" of \(model.adapters.count) adapters here")
        }
        return fusion.fusion(of: model.adapters, seed: seed)
    }

    /// An order's numbers are millionths.
    static func sampling(_ decoding: Decoding, bias given: [AskBias], choice: UInt32) throws(JobFault) -> Sampling {
        var bias: [TokenBias] = []
        for entry in given {
            guard let token = Int32(exactly: entry.token) else {
                throw JobFault(.invalid, "token_out_of_range", "token \(entry.token) of the bias is in no vocabulary")
            }
            bias.append(TokenBias(token: token, bias: Float(Double(entry.bias) / 1e6)))
        }
        return Sampling(
            temperature: Float(Double(decoding.temperature) / 1e6), topK: Int(clamping: decoding.topK),
            topP: Float(Double(decoding.topP) / 1e6), minP: Float(Double(decoding.minP) / 1e6),
            presencePenalty: Float(Double(decoding.presencePenalty) / 1e6),
            frequencyPenalty: Float(Double(decoding.frequencyPenalty) / 1e6),
            repetitionPenalty: Float(Double(decoding.repetitionPenalty) / 1e6), logitBias: bias, seed: decoding.seed,
            choice: choice)
    }

    /// On the engine's thread: the prompt written, the settings complete.
    func start(
        _ found: Found?, _ own: OwnRows?, model loaded: LoadedModel,
        news: @escaping @Sendable (GenerationNews) -> Void
    ) throws(JobFault) -> StartedJob {
        let written = try PromptWriter.write(form, found, model: loaded, answerTokensMax: tokensMax)
        let start = AnswerStart(
            promptTokens: written.tokens.map(UInt32.init(bitPattern:)),
            sources: found.map { AnswerData.told(written.passages, of: $0.datanet, salt: order.answerSalt) } ?? [],
            model: model,
            data: found.map { AnswerData.use($0, kinds: [], salt: order.promptSalt) }
                ?? DataUse(snapshots: own.map { [$0.snapshot] } ?? []))
        let tokenizer = loaded.tokenizer
        var request = request(prompt: written.tokens)
        request.spans = found?.spans ?? own?.spans
        return StartedJob(requests: [request], accepted: { news(.started(start)) }) { event in
            switch event {
            case .output(_, let output):
                if let token = output.token {
                    let scores = Self.scores(token, tokenizer)
                    news(.token(id: UInt32(bitPattern: token.id), text: output.text, scores: scores))
                }
                switch output.finish {
                case .end, .stop: news(.finished(.stop))
                case .length: news(.finished(.length))
                // The worker tells the others as faults, and nothing is repeated here.
                case .notFinite, .expired, .adapterFailed, .grammar, .differs, .repeated, nil: break
                }
            case .cancelled: news(.finished(.cancelled))
            case .failed(let fault): news(.failed(code: fault.code, message: fault.message))
            }
        }
    }

    /// - Parameters:
    ///   - stood: passages that stood in the prompt, where that is known.
    ///   - kinds: of evidence; nil for those that can be had.
    func weighing(
        _ answer: [UInt32], found: Found, stood: [UInt64]?, kinds: Set<EvidenceKind>?
    ) -> WeighingPlan {
        WeighingPlan(
            key: key, adapters: order.adapters.map(\.adapter),
            adapter: fusion == nil ? order.adapters.first?.adapter.text : nil, fusion: fusion, form: form,
            found: found, stood: stood, answerTokensMax: tokensMax, answer: answer.map(Int32.init(bitPattern:)),
            seed: AnswerData.query(found, salt: order.promptSalt),
            cacheDomain: kinds == nil ? Self.cacheDomain : ReexecutionPlan.cacheDomain, kinds: kinds)
    }

    /// What the engine is asked for a prompt that is written: all that decides over the answer's tokens.
    func request(prompt: [Int32]) -> Inference.GenerationRequest {
        var request = Inference.GenerationRequest(
            prompt: prompt, adapter: fusion == nil ? order.adapters.first?.adapter.text : nil, tokensMax: tokensMax,
            sampling: sampling, stop: order.settings.stop, ignoresEnd: order.settings.ignoreEndOfSequence,
            logProbabilities: order.logProbabilities, fusion: fusion, tenant: order.payer.text,
            cacheDomain: Self.cacheDomain)
        request.grammar = grammar
        return request
    }

    /// Empty where the order does not ask for them: the engine then computes none.
    private static func scores(_ token: GeneratedToken, _ tokenizer: Tokenizer?) -> [TokenScore] {
        guard let own = token.logProbability else { return [] }
        return ([(token.id, own)] + token.alternatives.map { ($0.token, $0.logProbability) }).map { id, value in
            let text = tokenizer?.decode([id], skipSpecial: false) ?? ""
            return TokenScore(
                id: UInt32(bitPattern: id), logProbability: max(value, -.greatestFiniteMagnitude),
                text: text.utf8.count <= TokenScore.textBytesMax ? text : "")
        }
    }
}
