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

/// What stands for the evidence: shares that depend on the seed alone, of rows that belong to peers in turn.
extension SimulatedModel {
    static let snapshot = CID(.dagCBOR, hashing: [2])

    /// The rows that stood in the prompt, none to three of them.
    static func prompt(_ order: AskOrder, accounts: [AccountID]) -> [SourceNote] {
        var random = SeededRandom(seed: order.decoding.seed ^ 0x5eed)
        return (0..<random.below(4)).map { row in
            SourceNote(
                row: row, rowName: "", snapshot: snapshot, datanet: Digest(sha256: [3]), datanetName: "set",
                contributor: accounts[Int((order.decoding.seed % 97 + row) % UInt64(accounts.count))], share: .none,
                text: "", license: "CC0-1.0",
                salt: Array(Digest(sha256Of: [order.answerSalt, [UInt8(row)]]).bytes.prefix(RowWeight.saltBytes)))
        }
    }

    /// The same rows with what they have of the answer: one may have nothing.
    static func shares(_ order: AskOrder, _ answer: [UInt32], accounts: [AccountID]) -> [SourceNote] {
        var random = SeededRandom(seed: order.decoding.seed ^ UInt64(answer.count))
        var notes = prompt(order, accounts: accounts)
        let weights = notes.map { _ in random.below(5) }
        for (index, share) in PartsPerMillion.shares(of: weights).enumerated() {
            notes[index].share = share
            if share == .none { notes[index].reason = .threshold }
        }
        let paid = notes.filter { $0.share > .none }.sorted { ($1.share, $0.row) < ($0.share, $1.row) }
        return paid + notes.filter { $0.share == .none }
    }
}

extension SimulatedWorld {
    func weigh(_ order: WeighingOrder, _ index: Int) -> WeighedAnswer {
        var sources = SimulatedModel.shares(order.order, order.answerTokens, accounts: homes.map(\.account))
        if liar?.home == index, liar?.corrupt(&sources) == true { checker.shareLies.insert(order.order.request) }
        return WeighedAnswer(sources: sources, data: order.start.data)
    }

    /// Every third peer does not hold the rows.
    func reweigh(_ order: ReweighingOrder, _ index: Int) -> Reweighing {
        guard index % 3 != 2 else { return .refused(code: "snapshot_missing", message: "the rows are not here") }
        // What says nothing owes nobody.
        let sources =
            order.answerTokens.isEmpty
            ? [] : SimulatedModel.shares(order.order, order.answerTokens, accounts: homes.map(\.account))
        let rows = SourceLedger.root(of: sources), contributors = SourceLedger.contributors(of: sources)
        // The planted bug: scales that do not weigh the same twice.
        if planted == .wobblyScales, rows != nil, random.below(4) == 0 { return .done(.differs(.prompt)) }
        let data = order.receipt.data
        return .done(
            rows == data.rows && contributors == data.contributors
                ? .same : .differs(.rows, rows: rows, contributors: contributors))
    }

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
