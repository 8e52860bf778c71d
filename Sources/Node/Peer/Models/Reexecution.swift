// Repeating an answer on this peer's kernels (Protocol/audit.md): the same model, adapters, precision and settings, the
// answer's tokens computed ahead and drawn one by one. In the lowest class, so that it delays nobody who pays.

import Arithmetic
import Inference
import Ledger
package import NodeCore
import Primitives
import Tokenizers

extension InferenceService {
    /// - Parameter done: called once, from the engine's thread or the caller's.
    package func reexecute(_ order: ReexecutionOrder, done: @escaping @Sendable (Reexecution) -> Void) {
        let refuse: @Sendable (JobFault) -> Void = { done(.refused(code: $0.code, message: $0.message)) }
        // A grammar takes a while to compile, and this may be the node's loop.
        guard order.opening.settings.form == nil else {
            return aside(refuse) { $0.repeated(order, refuse, done) }
        }
        repeated(order, refuse, done)
    }

    private func repeated(
        _ order: ReexecutionOrder, _ refuse: @escaping @Sendable (JobFault) -> Void,
        _ done: @escaping @Sendable (Reexecution) -> Void
    ) {
        let plan: ReexecutionPlan
        do throws(JobFault) {
            plan = try ReexecutionPlan(order, shelf: shelf)
        } catch {
            return refuse(error)
        }
        // Nothing was answered: nothing can be wrong.
        guard !order.opening.answerTokens.isEmpty else { return done(.done(.same(ended: false))) }
        run(on: plan.key, question: nil, datanet: nil, refuse: refuse) { _ in
            EngineJob(
                token: JobToken(), adapters: order.receipt.model.adapters.map(\.adapter),
                begin: { _ throws(JobFault) in plan.start(done) }, refuse: refuse, ended: {})
        }
    }
}

struct ReexecutionPlan: Sendable {
    let key: EngineKey
    private let request: Inference.GenerationRequest
    /// Neither a neighbour's prompts nor this home's: an audit warms nobody's cache.
    static let cacheDomain: UInt32 = 2

    init(_ order: ReexecutionOrder, shelf: ModelShelf) throws(JobFault) {
        let model = order.receipt.model
        guard model.numerics == KernelNumerics.revision else {
            throw JobFault(
                .unsupported, "numerics",
                "the answer was computed by revision \(model.numerics) of the numerics, this peer has \(KernelNumerics.revision)"
            )
        }
        let decoding = order.receipt.decoding
        let demand = try OrderPlan.demand(model, seed: decoding.seed, shelf: shelf)
        guard model.tokenizer == demand.tokenizer, model.template == demand.template else {
            throw JobFault(.invalid, "tokenizer", "the receipt names another tokenizer or template than its model has")
        }
        key = demand.key
        let opening = order.opening
        guard let prompt = Self.ids(opening.promptTokens) else {
            throw JobFault(.invalid, "token_out_of_range", "the prompt has a token that is in no vocabulary")
        }
        let settings = opening.settings
        request = Inference.GenerationRequest(
            prompt: prompt, adapter: demand.fusion == nil ? model.adapters.first?.adapter.text : nil,
            tokensMax: Int(clamping: decoding.maxTokens),
            sampling: try OrderPlan.sampling(decoding, bias: settings.bias, choice: settings.choice),
            stop: settings.stop, ignoresEnd: settings.ignoreEndOfSequence, fusion: demand.fusion, tenant: "audit",
            priority: .background, cacheDomain: Self.cacheDomain,
            grammar: try settings.form.map { form throws(JobFault) in try form.grammar() },
            // One that is in no vocabulary stays one that is not drawn.
            repeats: opening.answerTokens.map(Int32.init(bitPattern:)))
    }

    private static func ids(_ tokens: [UInt32]) -> [Int32]? {
        let ids = tokens.compactMap(Int32.init(exactly:))
        return ids.count == tokens.count ? ids : nil
    }

    func start(_ done: @escaping @Sendable (Reexecution) -> Void) -> StartedJob {
        let expected = request.repeats?.count ?? 0
        var count = 0
        return StartedJob(requests: [request], accepted: {}) { event in
            switch event {
            case .output(_, let output):
                if output.token != nil { count += 1 }
                switch output.finish {
                case .differs:
                    done(
                        .done(
                            .differs(
                                position: UInt64(max(0, count - 1)),
                                found: output.token.map { UInt32(bitPattern: $0.id) })))
                case .repeated: done(.done(.same(ended: false)))
                case .end, .stop, .length:
                    done(.done(count == expected ? .same(ended: true) : .differs(position: UInt64(count), found: nil)))
                // The worker tells the others as faults.
                case .notFinite, .expired, .adapterFailed, .grammar, nil: break
                }
            case .cancelled: done(.refused(code: JobFault.closing.code, message: JobFault.closing.message))
            case .failed(let fault) where fault.code == JobFault.notFinite.code: done(.done(.unable(fault.code)))
            case .failed(let fault): done(.refused(code: fault.code, message: fault.message))
            }
        }
    }
}
