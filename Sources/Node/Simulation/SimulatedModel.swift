// What stands for the engine: an answer that depends on the seed and the position alone, so that whoever repeats it gets
// the same tokens, and a peer that cannot repeat it.

import Ledger
import NodeCore
import Primitives

enum SimulatedModel {
    static let cid = CID(.dagCBOR, hashing: [1])

    static func answer(_ decoding: Decoding, count: Int) -> [UInt32] {
        var random = SeededRandom(seed: decoding.seed)
        return (0..<count).map { _ in UInt32(truncatingIfNeeded: random.below(1000)) }
    }

    /// Answers end where it pleases the simulated engine, so only `maxTokens` is an end that can be repeated.
    static func reexecute(_ order: ReexecutionOrder) -> AuditOutcome {
        let given = order.opening.answerTokens
        let own = answer(order.receipt.decoding, count: given.count)
        guard let place = own.indices.first(where: { own[$0] != given[$0] }) else {
            return .same(ended: UInt64(given.count) == order.receipt.decoding.maxTokens)
        }
        return .differs(position: UInt64(place), found: own[place])
    }
}

extension SimulatedWorld {
    /// Every third peer does not hold the model.
    func reexecute(_ order: ReexecutionOrder, _ index: Int) -> Reexecution {
        guard index % 3 != 2, order.receipt.model.weights == SimulatedModel.cid else {
            return .refused(code: "model_missing", message: "the model is not here")
        }
        let outcome = SimulatedModel.reexecute(order)
        // The planted bug: kernels that do not give the same bits twice.
        if planted == .wobblyKernels, random.below(4) == 0, !order.opening.answerTokens.isEmpty {
            return .done(.differs(position: 0, found: order.opening.answerTokens[0] &+ 1))
        }
        return .done(outcome)
    }
}
