// What a payer orders from a server: the prompt, the model, the data to draw on, the allowance that pays for it and the
// most it may cost. Signed by the payer's key, so that a server can show what was asked for; it stays between the two.

package import Ledger
package import Primitives

package struct AskMessage: Hashable, Sendable {
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

package enum AskPrompt: Hashable, Sendable {
    /// Through the model's chat template.
    case messages([AskMessage])
    /// Tokenized as it is.
    case text(String)
    /// Used as they are.
    case tokens([UInt32])
}

package struct AskOrder: Hashable, Sendable {
    package static let bytesMax = 512 << 10
    package static let version: UInt64 = 2
    package static let messagesMax = 256
    package static let scoresMax = 20

    /// 32 bytes chosen by the requester; asking twice with the same id is answered once.
    package var request: Digest
    package var allowance: AllowanceID
    package var sequence: UInt64
    /// What was settled or signed under the allowance before this request.
    package var priorTotal: Amount
    package var price: PriceSchedule
    package var priceMax: Amount
    package var payer: AccountID
    /// The model's manifest.
    package var model: CID
    package var precision: String
    package var adapters: [AdapterUse]
    /// How several adapters are one (Protocol/fusion.md); nil for none, or one at its whole weight.
    package var fusion: String?
    /// Datanet to retrieve from, by id.
    package var datanet: Digest?
    package var prompt: AskPrompt
    /// `extra` commits to the settings.
    package var decoding: Decoding
    package var settings: DecodingSettings
    /// Whether tokens come with log-probabilities, and with those of how many others.
    package var logProbabilities: Int?
    package var promptSalt: [UInt8]
    package var answerSalt: [UInt8]

    package init(
        request: Digest, allowance: AllowanceID, sequence: UInt64, priorTotal: Amount, price: PriceSchedule,
        priceMax: Amount, payer: AccountID, model: CID, precision: String, adapters: [AdapterUse],
        fusion: String? = nil,
        datanet: Digest?, prompt: AskPrompt, decoding: Decoding, settings: DecodingSettings = DecodingSettings(),
        logProbabilities: Int? = nil, promptSalt: [UInt8], answerSalt: [UInt8]
    ) {
        self.request = request
        self.allowance = allowance
        self.sequence = sequence
        self.priorTotal = priorTotal
        self.price = price
        self.priceMax = priceMax
        self.payer = payer
        self.model = model
        self.precision = precision
        self.adapters = adapters
        self.fusion = fusion
        self.datanet = datanet
        self.prompt = prompt
        self.decoding = decoding
        self.settings = settings
        self.logProbabilities = logProbabilities
        self.promptSalt = promptSalt
        self.answerSalt = answerSalt
        self.decoding.extra = settings.commitment(salt: promptSalt)
    }

    package func encoded() -> [UInt8] {
        var pairs: [(String, CBOR)] = [
            ("v", .unsigned(Self.version)), ("request", .digest(request)), ("allowance", .digest(allowance.digest)),
            ("sequence", .unsigned(sequence)), ("priorTotal", .amount(priorTotal)), ("price", price.cbor),
            ("priceMax", .amount(priceMax)), ("payer", .account(payer)), ("model", .link(model)),
            ("precision", .text(precision)), ("adapters", .array(adapters.map(\.cbor))),
            ("decoding", decoding.cbor), ("promptSalt", .bytes(promptSalt)), ("answerSalt", .bytes(answerSalt)),
        ]
        pairs += settings.pairs
        if let logProbabilities { pairs.append(("scores", .unsigned(UInt64(max(0, logProbabilities))))) }
        if let fusion { pairs.append(("fusion", .text(fusion))) }
        if let datanet { pairs.append(("datanet", .digest(datanet))) }
        switch prompt {
        case .messages(let messages):
            pairs.append(
                ("messages", .array(messages.map { .map(["role": .text($0.role), "content": .text($0.content)]) })))
        case .text(let text): pairs.append(("text", .text(text)))
        case .tokens(let tokens): pairs.append(("tokens", .bytes(Commitment.content(tokens: tokens))))
        }
        return CBOR.map(pairs).encoded()
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "AskOrder", limits: CBORLimits(bytesMax: Self.bytesMax))
        guard try fields.unsigned("v") == Self.version else {
            throw fields.fault("v", "is a version that is not known")
        }
        request = try fields.digest("request")
        allowance = AllowanceID(try fields.digest("allowance"))
        sequence = try fields.unsigned("sequence")
        priorTotal = try fields.amount("priorTotal")
        price = try PriceSchedule(cbor: try fields.value("price"))
        priceMax = try fields.amount("priceMax")
        payer = try fields.account("payer")
        model = try fields.link("model")
        precision = try fields.text("precision", max: LedgerLimits.nameBytesMax)
        var adapters: [AdapterUse] = []
        for item in try fields.array("adapters", max: LedgerLimits.adaptersPerReceiptMax) {
            adapters.append(try AdapterUse(cbor: item))
        }
        self.adapters = adapters
        fusion = nil
        if let value = fields.optionalValue("fusion") {
            guard case .text(let text) = value, text.utf8.count <= LedgerLimits.nameBytesMax else {
                throw fields.fault("fusion", "is not a short text")
            }
            fusion = text
        }
        datanet = nil
        if let value = fields.optionalValue("datanet") {
            guard case .bytes(let raw) = value, let digest = Digest(raw) else {
                throw fields.fault("datanet", "is not a digest")
            }
            datanet = digest
        }
        decoding = try Decoding(cbor: try fields.value("decoding"))
        settings = try DecodingSettings(from: &fields)
        logProbabilities = nil
        if let value = fields.optionalValue("scores") {
            guard case .unsigned(let count) = value, count <= UInt64(Self.scoresMax) else {
                throw fields.fault("scores", "is not between 0 and \(Self.scoresMax)")
            }
            logProbabilities = Int(count)
        }
        promptSalt = try fields.bytes("promptSalt", count: Commitment.saltBytes)
        answerSalt = try fields.bytes("answerSalt", count: Commitment.saltBytes)
        prompt = try Self.prompt(from: &fields)
        guard decoding.extra == settings.commitment(salt: promptSalt) else {
            throw fields.fault("decoding", "has an extra that does not commit to the settings")
        }
        try fields.finish()
    }

    private static func prompt(from fields: inout CBORFields) throws(CBORFault) -> AskPrompt {
        if let value = fields.optionalValue("messages") {
            guard case .array(let items) = value, items.count <= messagesMax else {
                throw fields.fault("messages", "is not an array of at most \(messagesMax)")
            }
            var messages: [AskMessage] = []
            for item in items {
                var entry = try CBORFields(item, "AskOrder.messages")
                messages.append(
                    AskMessage(
                        role: try entry.text("role", max: 32), content: try entry.text("content", max: bytesMax)))
                try entry.finish()
            }
            return .messages(messages)
        }
        if let value = fields.optionalValue("text") {
            guard case .text(let text) = value else { throw fields.fault("text", "is not text") }
            return .text(text)
        }
        return .tokens(try TokenList.decode(try fields.bytes("tokens", max: bytesMax), fields))
    }
}

/// Token ids as big-endian bytes, four each: the form that commitments hash, too.
enum TokenList {
    static func decode(_ bytes: [UInt8], _ fields: CBORFields) throws(CBORFault) -> [UInt32] {
        guard let tokens = Commitment.tokens(content: bytes) else {
            throw fields.fault("tokens", "is not a list of four-byte ids")
        }
        return tokens
    }
}
