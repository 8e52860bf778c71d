// Answers: free of charge from this peer's own kernels, or paid and receipted from whoever serves best.
//
//   request ──paid, a peer, or not held here──▶ server chosen ──▶ ask ──accepted──▶ sources, tokens, receipt
//      │                                             ▲   └─ not there any more ──▶ the next one, once
//      └──otherwise──▶ own engine, no receipt

import Arithmetic
import Datanets
import Foundation
package import Gateway
import Ledger
import NodeCore
import Primitives
import Records

extension PeerService {
    package func generate(_ request: GenerationRequest) async throws(NodeFault) -> Gateway.Generation {
        let (request, choice) = try await resolved(request)
        let datanet = try await datanet(of: request)
        // Rows are paid for wherever the caller may spend; what a paid answer cannot have is given free.
        let canBePaid = !request.echo && !request.hasTools
        let paysForRows = request.maySpend && datanet != nil && canBePaid
        guard request.isPaid || paysForRows || request.peer != nil || !choice.isHeld else {
            if let datanet, peer.directory.held(datanet.digest) == nil {
                throw NodeFault(
                    .conflict,
                    "the datanet \(request.datanet ?? "") is not held here; pull it first, or ask a neighbour with peer",
                    param: "datanet", code: "not_held")
            }
            return try await peer.inference.generate(
                request, model: choice.model.cid, adapter: choice.adapter?.cid, merged: choice.merged.map(\.cid),
                name: choice.text, datanet: datanet?.digest)
        }
        guard request.maySpend else {
            throw NodeFault.tokenRequired(
                choice.isHeld
                    ? "this answer is paid for; send the home's token"
                    : "\(choice.text) is not held here, a neighbour answers for pay; send the home's token, or pull the model"
            )
        }
        try checkPaid(request)
        var offers = try await offers(request, choice, datanet)
        var last = NodeFault(
            .unavailable, "nobody serves \(choice.text) now", param: "model", code: "no_server", retryAfterSeconds: 5)
        for _ in 0..<2 where !offers.isEmpty {
            let offer = offers.removeFirst()
            let orders = try orders(request, choice, datanet, offer)
            switch await ask(orders, offer.peer, choice) {
            case .success(let generation): return generation
            case .failure(let fault):
                last = fault
                guard request.peer == nil, ["server_vanished", "not_connected"].contains(fault.code ?? "") else {
                    throw fault
                }
            }
        }
        throw last
    }

    private func datanet(of request: GenerationRequest) async throws(NodeFault) -> DatanetID? {
        guard let text = request.datanet else { return nil }
        return try await datanetID(text, param: "datanet")
    }

    // MARK: the answer

    /// Returns when the server has accepted the first, or has not.
    private func ask(
        _ orders: [AskRequest], _ server: PeerID, _ choice: ModelChoice
    ) async -> Result<Gateway.Generation, NodeFault> {
        let (events, told) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream(bufferingPolicy: .unbounded)
        let (gate, opened) = AsyncStream<NodeFault?>.makeStream()
        let handle = handle
        let task = Task {
            var end: NodeFault?
            var count = (prompt: 0, answer: 0)
            for (index, order) in orders.enumerated() {
                end = Self.stopping
                for await answer in handle.command(.ask(order)) {
                    switch answer {
                    case .accepted(let tokens, _):
                        count.prompt += tokens
                        opened.yield(nil)
                        opened.finish()
                    // Each choice has a receipt with its own; the first one's are told with the answer.
                    case .sources(let sources) where index == 0: told.yield(.sources(Self.sources(sources)))
                    case .token(let id, let text, let scores):
                        count.answer += 1
                        told.yield(.token(TokenEvent(choice: index, id: id, text: text, scores: scores)))
                    case .answered(let signed, let reason):
                        told.yield(.finished(choice: index, reason == .length ? .length : .stop))
                        told.yield(
                            .receipt(ReceiptNote(id: signed.id.hex, cost: signed.receipt.amount, state: "signed")))
                        end = nil
                    case .failed(let failure): end = NodeFault(failure)
                    default: break
                    }
                }
                // Nobody listens any more, or it went wrong: the other choices are not ordered.
                if end != nil || Task.isCancelled { break }
            }
            if end == nil { told.yield(.usage(promptTokens: count.prompt, completionTokens: count.answer)) }
            opened.yield(end)
            opened.finish()
            told.finish(throwing: end)
        }
        told.onTermination = { reason in
            if case .cancelled = reason { task.cancel() }
        }
        for await fault in gate {
            if let fault { return .failure(fault) }
            return .success(
                Gateway.Generation(
                    requestID: Hex.encode((orders.first?.randomness ?? []).prefix(16)), model: choice.text,
                    servedBy: server.text, isLocal: server == handle.peer, receiptID: nil, events: events))
        }
        task.cancel()
        return .failure(Self.stopping)
    }

    private static func sources(_ notes: [SourceNote]) -> [AnswerSource] {
        notes.map { note in
            AnswerSource(
                row: "\(note.snapshot.text)#\(note.row)", rowID: note.rowName.isEmpty ? nil : note.rowName,
                datanet: note.datanet.hex, datanetName: note.datanetName, contributor: note.contributor.text,
                share: note.share, text: note.text, license: note.license.isEmpty ? nil : note.license,
                reason: note.reason?.rawValue)
        }
    }

    // MARK: tokens

    package func tokenize(_ request: TokenizeRequest) async throws(NodeFault) -> [UInt32] {
        let model = try await heldModel(request.model)
        switch request.input {
        case .text(let text, let addsSpecial):
            return try await peer.inference.tokenize(text, addSpecialTokens: addsSpecial, model: model)
        case .messages(let messages, let addsPrompt, let extras):
            return try await peer.inference.tokenize(
                messages, addGenerationPrompt: addsPrompt, extras: extras, model: model)
        }
    }

    package func detokenize(_ tokens: [UInt32], model: String) async throws(NodeFault) -> String {
        let model = try await heldModel(model)
        return try await peer.inference.detokenize(tokens, model: model)
    }

    private func heldModel(_ text: String) async throws(NodeFault) -> CID {
        let choice = try await modelChoice(text)
        guard choice.model.shelved != nil else {
            throw NodeFault(
                .conflict,
                "the model \(choice.model.name) is not held here; pull it first: openledger model pull \(choice.model.name)",
                param: "model", code: "not_held")
        }
        return choice.model.cid
    }
}

extension TokenEvent {
    fileprivate init(choice: Int, id: UInt32, text: String, scores: [TokenScore]) {
        let candidates = scores.map { score in
            TokenCandidate(
                id: score.id, text: score.text, bytes: Array(score.text.utf8),
                logProbability: Double(score.logProbability))
        }
        self.init(
            choice: choice, id: id, text: text, chosen: candidates.first, alternatives: Array(candidates.dropFirst()))
    }
}
