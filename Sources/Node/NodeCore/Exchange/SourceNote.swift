// The rows that an answer drew on: told with the prompt as what stood in it, told again with the receipt as what each of them
// is paid for, or why not.

import Ledger
package import Primitives

/// A row that was used, as the payer sees it.
package struct SourceNote: Hashable, Sendable {
    package static let textBytesMax = 16_384
    /// Beside a share: as many as may be fit a message.
    package static let sharedTextBytesMax = 8192

    package var row: UInt64
    package var rowName: String
    package var snapshot: CID
    package var datanet: Digest
    package var datanetName: String
    package var contributor: AccountID
    package var share: PartsPerMillion
    package var text: String
    package var license: String
    /// Salt of the row's leaf under the receipt's row-weight root.
    package var salt: [UInt8]
    /// Of a row that stood in the prompt and has no share; nil before shares are known.
    package var reason: ZeroReason?
    /// The row that has what this one would have had: of a near duplicate and of an echo.
    package var instead: UInt64?

    package init(
        row: UInt64, rowName: String, snapshot: CID, datanet: Digest, datanetName: String, contributor: AccountID,
        share: PartsPerMillion, text: String, license: String, salt: [UInt8], reason: ZeroReason? = nil,
        instead: UInt64? = nil
    ) {
        self.row = row
        self.rowName = rowName
        self.snapshot = snapshot
        self.datanet = datanet
        self.datanetName = datanetName
        self.contributor = contributor
        self.share = share
        self.text = text
        self.license = license
        self.salt = salt
        self.reason = reason
        self.instead = instead
    }

    package var leaf: [UInt8] {
        RowWeight(snapshot: snapshot, row: row, contributor: contributor, share: share, salt: salt).encoded()
    }

    package var cbor: CBOR {
        var pairs: [(String, CBOR)] = [
            ("row", .unsigned(row)), ("rowName", .text(rowName)), ("snapshot", .link(snapshot)),
            ("datanet", .digest(datanet)), ("datanetName", .text(datanetName)), ("contributor", .account(contributor)),
            ("share", .partsPerMillion(share)), ("text", .text(text)), ("license", .text(license)),
            ("salt", .bytes(salt)),
        ]
        if let reason { pairs.append(("reason", .text(reason.rawValue))) }
        if let instead { pairs.append(("instead", .unsigned(instead))) }
        return .map(pairs)
    }

    package init(cbor: CBOR) throws(CBORFault) {
        var fields = try CBORFields(cbor, "SourceNote")
        row = try fields.unsigned("row")
        rowName = try fields.text("rowName", max: 256)
        snapshot = try fields.link("snapshot")
        datanet = try fields.digest("datanet")
        datanetName = try fields.text("datanetName", max: 256)
        contributor = try fields.account("contributor")
        share = try fields.partsPerMillion("share")
        text = try fields.text("text", max: Self.textBytesMax)
        license = try fields.text("license", max: 256)
        salt = try fields.bytes("salt", count: RowWeight.saltBytes)
        reason = nil
        if let value = fields.optionalValue("reason") {
            guard case .text(let name) = value, let reason = ZeroReason(rawValue: name), share == .none else {
                throw fields.fault("reason", "is no reason for a share of nothing")
            }
            self.reason = reason
        }
        instead = nil
        if let value = fields.optionalValue("instead") {
            guard case .unsigned(let row) = value, reason?.namesRow == true else {
                throw fields.fault("instead", "is no row that has the share of another")
            }
            instead = row
        }
        try fields.finish()
    }
}

/// Why a row that stood in the prompt has no share (Protocol/attribution.md, Receipts).
package enum ZeroReason: String, Hashable, Sendable, CaseIterable {
    /// It says what an earlier row says; that one has its part.
    case duplicate
    /// Its evidence stands out too little.
    case threshold
    /// It says in other words what a row says that is paid.
    case echo
    /// Others stand out more, and there are too many.
    case rank
    /// Less than a millionth.
    case rounding
    /// The server could not weigh the evidence: nobody has a share.
    case unweighed

    package var namesRow: Bool { self == .duplicate || self == .echo }
}
