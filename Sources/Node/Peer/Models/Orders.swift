// Paid answers: a neighbour's order, or this peer's own to itself, from `AskOrder` to news for the node. What the order
// names and this peer cannot do to the letter is refused by a code, before a token is made.

import Arithmetic
import Decoding
import Inference
import Ledger
import ModelFiles
package import NodeCore
import Primitives
import Records
import Synchronization
import Tokenizers

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
        let plan: OrderPlan
        do throws(JobFault) {
            plan = try OrderPlan(order, shelf: shelf)
        } catch {
            return refuse(error)
        }
        orders.withLock { $0[ticket] = token }
        let forget: @Sendable () -> Void = { [weak self] in _ = self?.orders.withLock { $0.removeValue(forKey: ticket) }
        }
        run(on: plan.key, question: plan.form.question, datanet: order.datanet) { fault in
            forget()
            refuse(fault)
        } job: { found in
            EngineJob(
                token: token, adapters: order.adapters.map(\.adapter),
                begin: { model throws(JobFault) in try plan.start(found, model: model, news: news) }, refuse: refuse,
                ended: forget)
        }
    }

    /// Ends an answer before the next step: `finished(.cancelled)` follows, unless it had ended.
    package func stop(_ ticket: Ticket) { orders.withLock { $0[ticket] }?.cancel() }
}

/// An order that this peer can do.
struct OrderPlan: Sendable {
    let order: AskOrder
    let key: EngineKey
    let form: PromptForm
    private let model: ModelUse
    private let sampling: Sampling
    private let tokensMax: Int
    /// Strangers' prompts share no beginnings with this home's.
    private static let cacheDomain: UInt32 = 1

    init(_ order: AskOrder, shelf: ModelShelf) throws(JobFault) {
        self.order = order
        var model = ModelUse(
            weights: order.model, owner: nil, tokenizer: nil, template: nil, adapters: order.adapters,
            fusion: order.fusion, precision: order.precision, numerics: KernelNumerics.revision)
        let demand = try Self.demand(model, shelf: shelf)
        key = demand.key
        model.tokenizer = demand.tokenizer
        model.template = demand.template
        self.model = model
        sampling = Self.sampling(order.decoding)
        tokensMax = Int(clamping: order.decoding.maxTokens)
        switch order.prompt {
        case .messages(let messages):
            form = .messages(messages.map { Tokenizers.ChatMessage(role: $0.role, content: $0.content) })
        case .text(let text): form = .text(text)
        case .tokens(let tokens): form = .tokens(tokens)
        }
    }

    /// The engine that has what is named, to the letter, and what goes with the model.
    static func demand(
        _ model: ModelUse, shelf: ModelShelf
    ) throws(JobFault) -> (key: EngineKey, tokenizer: CID?, template: CID?) {
        guard let form = ComputeForm(text: model.precision) else {
            throw JobFault(.invalid, "precision", "this peer does not compute in \(model.precision)")
        }
        guard let entry = shelf.entry(model.weights), entry.kind == .model else {
            throw JobFault(.unknown(model.weights), code: "model")
        }
        guard model.adapters.count <= 1, model.fusion == nil, model.adapters.first?.weight ?? 1_000_000 == 1_000_000
        else {
            throw JobFault(
                .unsupported, "fusion",
                "fusing adapters, or weighing one, is not built yet; use one adapter at its whole weight")
        }
        if let adapter = model.adapters.first?.adapter, shelf.entry(adapter)?.kind != .adapter {
            throw JobFault(.unknown(adapter), code: "adapter")
        }
        // A GGUF has all of them in one file.
        let packed = entry.folder.file(GGUFFile.name)?.root
        return (
            EngineKey(model: model.weights, form: form),
            entry.folder.file(Tokenizer.file)?.root ?? packed,
            entry.folder.file("chat_template.jinja")?.root ?? packed
        )
    }

    /// An order's numbers are millionths.
    static func sampling(_ decoding: Decoding) -> Sampling {
        Sampling(
            temperature: Float(Double(decoding.temperature) / 1e6), topK: Int(clamping: decoding.topK),
            topP: Float(Double(decoding.topP) / 1e6), minP: Float(Double(decoding.minP) / 1e6),
            presencePenalty: Float(Double(decoding.presencePenalty) / 1e6),
            frequencyPenalty: Float(Double(decoding.frequencyPenalty) / 1e6),
            repetitionPenalty: Float(Double(decoding.repetitionPenalty) / 1e6), seed: decoding.seed)
    }

    /// On the engine's thread: the prompt written, the settings complete.
    func start(
        _ found: Found?, model loaded: LoadedModel, news: @escaping @Sendable (GenerationNews) -> Void
    ) throws(JobFault) -> StartedJob {
        let written = try PromptWriter.write(form, found, model: loaded, answerTokensMax: tokensMax)
        let start = AnswerStart(
            promptTokens: written.tokens.map(UInt32.init(bitPattern:)),
            sources: found.map { AnswerData.notes(written.passages, of: $0, salt: order.answerSalt) } ?? [],
            model: model, data: found.map { AnswerData.use($0, salt: order.promptSalt) } ?? .none)
        var request = Inference.GenerationRequest(
            prompt: written.tokens, adapter: order.adapters.first?.adapter.text, tokensMax: tokensMax,
            sampling: sampling, stop: order.stop, ignoresEnd: order.ignoreEndOfSequence, tenant: order.payer.text,
            cacheDomain: Self.cacheDomain)
        request.spans = found?.spans
        return StartedJob(requests: [request], accepted: { news(.started(start)) }) { event in
            switch event {
            case .output(_, let output):
                if let token = output.token { news(.token(id: UInt32(bitPattern: token.id), text: output.text)) }
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
}
