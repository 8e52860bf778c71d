// Shares for receipts: those of an answer that this peer gave for pay, and those of somebody's receipt, weighed again by the
// evidence that it names (Protocol/audit.md, Shares).

import Arithmetic
import Attribution
import Ledger
package import NodeCore
import Primitives
import Training

extension InferenceService {
    /// - Parameter done: called once, from any thread.
    package func weigh(_ order: WeighingOrder, done: @escaping @Sendable (WeighedAnswer) -> Void) {
        let unweighed: @Sendable (JobFault) -> Void = { _ in done(order.unweighed) }
        aside(unweighed) { service in
            do {
                let plan = try OrderPlan(order.order, shelf: service.shelf)
                guard let snapshot = order.start.data.snapshots.first,
                    let found = try service.found(plan, at: snapshot)
                else { return done(order.unweighed) }
                let weighing = plan.weighing(
                    order.answerTokens, found: found, stood: order.start.sources.map(\.row), kinds: nil)
                service.weigh(weighing) { result in
                    guard case .success(let weighed) = result else { return done(order.unweighed) }
                    done(
                        WeighedAnswer(
                            sources: AnswerData.notes(weighed.rows, of: found.datanet, salt: order.order.answerSalt),
                            data: AnswerData.use(
                                found, kinds: weighed.kinds, index: weighed.index, salt: order.order.promptSalt)))
                }
            } catch {
                done(order.unweighed)
            }
        }
    }

    /// What an answer may have drawn on: passages for its question, or an adapter's own rows where it asked for none. On the
    /// library's queue.
    /// - Returns: nil where there is no question.
    fileprivate func found(_ plan: OrderPlan, at snapshot: CID) throws(LibraryFault) -> Found? {
        let held = try library.held(plan.order.datanet, at: snapshot)
        guard plan.order.datanet != nil else { return try library.rows(of: held, question: plan.form.question ?? "") }
        guard let question = plan.form.question, !question.isEmpty else { return nil }
        return try library.find(question, in: held)
    }

    /// - Parameter done: called once, from any thread.
    package func reweigh(_ order: ReweighingOrder, done: @escaping @Sendable (Reweighing) -> Void) {
        let refuse: @Sendable (JobFault) -> Void = { done(.refused(code: $0.code, message: $0.message)) }
        aside(refuse) { service in
            do throws(JobFault) {
                let check = try ReceiptWeighing(order, service)
                switch check {
                case .outcome(let outcome): done(.done(outcome))
                case .weigh(let plan): service.weigh(plan) { done(order.compared($0, plan)) }
                }
            } catch {
                refuse(error)
            }
        }
    }
}

extension WeighingOrder {
    /// Nobody has a share, and the receipt says that nothing was weighed.
    fileprivate var unweighed: WeighedAnswer {
        var data = start.data
        data.retrieval = nil
        return WeighedAnswer(
            sources: start.sources.map { note in
                var note = note
                note.reason = .unweighed
                return note
            }, data: data)
    }
}

/// What can be said before anything is weighed, and what is to be.
private enum ReceiptWeighing {
    case outcome(ShareOutcome)
    case weigh(WeighingPlan)

    /// On the library's queue.
    init(_ order: ReweighingOrder, _ service: InferenceService) throws(JobFault) {
        let receipt = order.receipt, data = receipt.data
        guard receipt.model.numerics == KernelNumerics.revision else {
            throw JobFault(
                .unsupported, "numerics",
                "the answer was computed by revision \(receipt.model.numerics) of the numerics, this peer has \(KernelNumerics.revision)"
            )
        }
        let plan = try OrderPlan(order.order, shelf: service.shelf)
        guard receipt.model.tokenizer == plan.model.tokenizer, receipt.model.template == plan.model.template else {
            throw JobFault(.invalid, "tokenizer", "the receipt names another tokenizer or template than its model has")
        }
        let manifest = plan.ownAdapter.flatMap { service.influences.manifest(of: $0, on: service.shelf) }
        if order.order.datanet == nil {
            // Of rows that only training drew on.
            guard let own = manifest?.datanet else {
                self = .outcome(data == .none ? .same : .differs(.snapshot))
                return
            }
            guard data != .none else {
                self = .outcome(.unable("unweighed"))
                return
            }
            guard data.snapshots == [own] else {
                self = .outcome(.differs(.snapshot))
                return
            }
        }
        guard data.snapshots.count == 1, let snapshot = data.snapshots.first else {
            self = .outcome(.differs(.snapshot))
            return
        }
        let found: Found?
        do throws(LibraryFault) {
            found = try service.found(plan, at: snapshot)
        } catch {
            throw JobFault(.missing, "snapshot_missing", error.description)
        }
        guard let found else {
            self = .outcome(.differs(.query))
            return
        }
        var index: CID?
        do throws(LibraryFault) {
            if let adapter = plan.ownAdapter {
                index = try service.influences.index(
                    of: adapter, rowsOf: found.datanet, on: service.shelf, from: service.library)?.index.cid
            }
        } catch {
            throw JobFault(.missing, "snapshot_missing", error.description)
        }
        self = Self.checked(order, found, plan, index: index)
    }

    /// - Parameter index: of the adapter that answered, where it counts for these rows.
    private static func checked(
        _ order: ReweighingOrder, _ found: Found, _ plan: OrderPlan, index: CID?
    ) -> ReceiptWeighing {
        let data = order.receipt.data
        // The server says itself that it did not come to weigh; nobody was paid by that.
        guard let retrieval = data.retrieval else {
            return .outcome(data.contributors.isEmpty ? .unable("unweighed") : .differs(.method))
        }
        let kinds = retrieval.method == "bm25" ? [] : EvidenceMethod.kinds(named: retrieval.method)
        guard let kinds else { return .outcome(.differs(.method)) }
        // An adapter's rows have no scores of a search.
        guard found.isSearched || !kinds.isEmpty else { return .outcome(.differs(.method)) }
        guard !kinds.contains(.influence) || index != nil else { return .outcome(.differs(.index)) }
        let expected = AnswerData.use(
            found, kinds: kinds, index: kinds.contains(.influence) ? index : nil, salt: order.order.promptSalt)
        guard retrieval == expected.retrieval else { return .outcome(.differs(.settings)) }
        guard data.indexes == expected.indexes else { return .outcome(.differs(.index)) }
        guard data.query == expected.query else { return .outcome(.differs(.query)) }
        guard !order.answerTokens.isEmpty else {
            return .outcome(data.contributors.isEmpty ? .same : .differs(.rows))
        }
        return .weigh(plan.weighing(order.answerTokens, found: found, stood: nil, kinds: kinds))
    }
}

extension ReweighingOrder {
    fileprivate func compared(_ result: Result<Weighed, JobFault>, _ plan: WeighingPlan) -> Reweighing {
        switch result {
        case .failure(let fault): return .refused(code: fault.code, message: fault.message)
        case .success(let weighed):
            let tokens = (weighed.prompt ?? []).map(UInt32.init(bitPattern:))
            guard receipt.prompt == Commitment(salt: order.promptSalt, content: Commitment.content(tokens: tokens))
            else { return .done(.differs(.prompt)) }
            let notes = AnswerData.notes(weighed.rows, of: plan.found.datanet, salt: order.answerSalt)
            let rows = SourceLedger.root(of: notes), contributors = SourceLedger.contributors(of: notes)
            return .done(
                rows == receipt.data.rows && contributors == receipt.data.contributors
                    ? .same : .differs(.rows, rows: rows, contributors: contributors))
        }
    }
}
