// Receipts: what this peer paid for and earned, and the file that proves one to anybody.

package import Gateway
import Ledger
import LightClient
import NodeCore
import Primitives
import Storage

/// A receipt, by whatever way it was found.
struct FoundReceipt: Sendable {
    var signed: SignedReceipt
    /// Where this peer is party to it.
    var own: OwnReceipt?
    /// Height and index, where a batch holds it.
    var place: (height: UInt64, index: Int)?
}

extension PeerService {
    // MARK: list

    func receipts(_ page: ListPage) async throws(NodeFault) -> JSONValue {
        let keys = try stored { () throws(StorageFault) -> [[UInt8]] in try self.own.keys() }
        let cut = try PageCut(page, of: keys.count)
        let names = try await names()
        var shown: [JSONValue] = []
        for offset in cut.range {
            // Newest first.
            let key = keys[keys.count - 1 - offset]
            guard let own = try stored({ () throws(StorageFault) -> OwnReceipt? in try self.own.receipt(at: key) })
            else { continue }
            let found = FoundReceipt(signed: own.signed, own: own, place: try place(of: own.signed.id))
            shown.append(try await json(found, names))
        }
        return .object(["receipts": .array(shown), "next": cut.next])
    }

    /// Height and index in the batch that holds it.
    func place(of id: Digest) throws(NodeFault) -> (height: UInt64, index: Int)? {
        guard
            let value = try stored({ () throws(StorageFault) -> [UInt8]? in try peer.store.value(.receipts, id.bytes) })
        else { return nil }
        return (Self.number(value.prefix(8)), Int(clamping: Self.number(value.dropFirst(8))))
    }

    func find(_ text: String) throws(NodeFault) -> FoundReceipt {
        let id = try digest(text, "receipt")
        let own = try stored { () throws(StorageFault) -> OwnReceipt? in try self.own.receipt(id) }
        let place = try place(of: id)
        if let own { return FoundReceipt(signed: own.signed, own: own, place: place) }
        if let place, let batch = try storedBatch(place.height) {
            let receipts = batch.batch.contents.receipts
            if let index = receipts.firstIndex(where: { $0.id == id }) {
                return FoundReceipt(signed: receipts[index], own: nil, place: (place.height, index))
            }
        }
        throw NodeFault.missing(
            "there is no receipt \(id.hex) here; this peer is not party to it, and no batch that it has holds it",
            code: "receipt_not_found")
    }

    private func state(_ found: FoundReceipt) async throws(NodeFault) -> (
        name: String, batch: JSONValue, refusal: JSONValue
    ) {
        if let place = found.place { return ("batched", .integer(place.height), .null) }
        let id = found.signed.id
        let (isPooled, refusal) = try await read { ($0.isPooled(receipt: id), $0.refusal(ofReceipt: id)) }
        if let refusal { return ("refused", .null, .string("\(refusal)")) }
        return (isPooled ? "pooled" : "signed", .null, .null)
    }

    func json(_ found: FoundReceipt, _ names: NameBook) async throws(NodeFault) -> JSONValue {
        let receipt = found.signed.receipt
        let order = found.own.flatMap { try? AskOrder(decoding: $0.order) }
        let state = try await state(found)
        var model = names.name(order?.model ?? receipt.model.weights)
        for adapter in receipt.model.adapters.prefix(1) { model += ":" + names.name(adapter.adapter) }
        let datanet = order?.datanet.map { names.name(datanet: $0) } ?? found.own?.sources.first?.datanetName
        return .object([
            "id": .string(receipt.id.hex),
            "time_ms": found.own.map { .time($0.time) } ?? .null,
            "role": .string(found.own?.role.rawValue ?? "none"), "payer": .string(receipt.payer.text),
            "server": .string(receipt.server.text), "model": .string(model), "datanet": .text(datanet),
            "prompt_tokens": .integer(receipt.promptTokens), "completion_tokens": .integer(receipt.answerTokens),
            "cost": .amount(receipt.amount), "state": .string(state.name), "batch": state.batch,
            "refusal": state.refusal,
        ])
    }

    // MARK: show

    func receipt(_ text: String) async throws(NodeFault) -> JSONValue {
        let found = try find(text)
        let receipt = found.signed.receipt
        let fees = try await read { $0.parameters.fees }
        let split = FeeSplit(of: receipt.amount, shares: fees, receipt: receipt)
        func paid(_ role: FeeRole) -> Amount { sum(split.payments.filter { $0.role == role }.map(\.amount)) }
        let earned = Dictionary(
            split.payments.filter { $0.role == .contributor }.map { ($0.account, $0.amount) }, uniquingKeysWith: { $1 })
        let contributors = receipt.data.contributors.map { part in
            JSONValue.object([
                "account": .string(part.account.text), "ppm": .integer(part.share.value),
                "amount": .amount(earned[part.account] ?? .zero),
            ])
        }
        let audits = try await audits(of: receipt.id)
        let sources = (found.own?.sources ?? []).sorted { ($0.share, $1.row) > ($1.share, $0.row) }
        return try await json(found, names()).adding([
            JSONMember("receipt", receipt.cbor.dagJSON),
            JSONMember("evidence_kinds", .array(Self.kinds(receipt.data.retrieval).map(JSONValue.string))),
            JSONMember("contributors", .array(contributors)),
            JSONMember("sources", .array(sources.map(Self.json(source:)))),
            JSONMember(
                "shares",
                .object([
                    "server": .amount(paid(.server)), "model_owner": .amount(paid(.model)),
                    "adapter_owners": .amount(paid(.adapter)), "contributors": .amount(paid(.contributor)),
                    "committee": .amount(split.committee), "treasury": .amount(split.treasury),
                    "burn": .amount(split.burn),
                ])),
        ]).adding(audits)
    }

    /// What the shares came of, as the receipt names it.
    private static func kinds(_ retrieval: Retrieval?) -> [String] {
        retrieval.map { $0.method.split(separator: "+").map(String.init) } ?? []
    }

    static func json(source: SourceNote) -> JSONValue {
        .object([
            "row": .string("\(source.snapshot.text)#\(source.row)"), "datanet": .string(source.datanet.hex),
            "datanet_name": .string(source.datanetName), "contributor": .string(source.contributor.text),
            "ppm": .integer(source.share.value), "text": .string(source.text),
            "row_id": source.rowName.isEmpty ? .null : .string(source.rowName),
            "license": source.license.isEmpty ? .null : .string(source.license),
            "reason": source.reason.map { .string($0.rawValue) } ?? .null,
            "instead": source.instead.map { .string("\(source.snapshot.text)#\($0)") } ?? .null,
        ])
    }

    // MARK: bundle

    private func bundle(_ text: String) throws(NodeFault) -> ReceiptBundle {
        let found = try find(text)
        guard let place = found.place, let batch = try storedBatch(place.height) else {
            throw NodeFault(
                .conflict, "no batch holds this receipt yet; ask again in a few seconds", code: "not_batched",
                retryAfterSeconds: 2)
        }
        let handovers = try stored { () throws(StorageFault) -> [Handover] in
            try epochs.handovers(to: batch.header.epoch)
        }
        let index = batch.batch.contents.receipts.firstIndex { $0.id == found.signed.id }
        guard let index, UInt64(handovers.count) == batch.header.epoch,
            let bundle = ReceiptBundle(
                receipt: index, of: batch, committee: peer.genesis.committee, handovers: handovers)
        else {
            throw NodeFault(
                .unavailable,
                "this peer does not have the hand-overs from the genesis to epoch \(batch.header.epoch); ask a full peer",
                code: "no_handovers", retryAfterSeconds: 60)
        }
        return bundle
    }

    package func receiptBundle(_ id: String) async throws(NodeFault) -> [UInt8] { try bundle(id).cbor.encoded() }

    func receiptRendering(_ id: String) async throws(NodeFault) -> JSONValue { try bundle(id).json }

    /// Against the genesis that this peer lives by; nothing of its own state is asked.
    func verify(_ bytes: [UInt8]) throws(NodeFault) -> JSONValue {
        let bundle: ReceiptBundle
        do { bundle = try ReceiptBundle(decoding: bytes) } catch {
            throw NodeFault(.invalid, "these bytes are no receipt bundle: \(error)", code: "not_a_bundle")
        }
        let now = NodeDriver.wallTime()
        let verdicts = BundleVerifier.verify(bundle, checkpoint: Checkpoint(peer.genesis), now: now)
        let age = max(0, now.milliseconds - peer.genesis.time.milliseconds) / 1000
        return .object([
            "verdict": .string(verdicts.allPass ? "valid" : "invalid"), "receipt": .string(bundle.receipt.id.hex),
            "batch": .integer(bundle.header.height),
            "checks": .array(
                verdicts.map {
                    .object([
                        "name": .string($0.check.rawValue.split(separator: "-").joined(separator: " ")),
                        "verdict": .string($0.passed ? "pass" : "fail"), "message": .string($0.reason),
                    ])
                }), "checkpoint": .object(["height": .integer(0), "age_s": .integer(age)]),
        ])
    }
}
