// `/v1/embeddings`: texts or token ids in, vectors out, as numbers or as base64 of little-endian f32 (which OpenAI's Python
// client asks for unless told otherwise).

import HTTPTypes
import Hummingbird
import Primitives

struct EmbeddingRoutes: Sendable {
    let desk: AnswerDesk

    func add(to group: RouterGroup<GatewayContext>) {
        group.post("v1/embeddings") { request, context in
            var request = request
            let fields = try await request.json(desk.limits)
            let isBase64 = try Self.isBase64(fields)
            let dimensions = try fields.integer("dimensions", in: 1...1 << 20)
            var wanted = EmbeddingRequest(
                model: try fields.name("model"), inputs: try Self.inputs(fields, "input", limits: desk.limits))
            let charge = try await desk.charge(&wanted, context.authority)
            let answer = try await desk.service.embed(wanted)
            charge.took(promptTokens: answer.promptTokens)
            if let dimensions, let first = answer.vectors.first, first.count != dimensions {
                throw fields.fault(
                    "dimensions",
                    "must be \(first.count), which \(answer.model.prefix(128)) gives; it is \(dimensions)",
                    code: "unsupported_value")
            }
            var response = Response.json(Self.json(answer, isBase64: isBase64))
            response.headers.append(contentsOf: charge.headers)
            return response
        }
    }

    private static func isBase64(_ fields: RequestFields) throws(NodeFault) -> Bool {
        switch try fields.text("encoding_format", bytesMax: 16) ?? "float" {
        case "float": return false
        case "base64": return true
        default: throw fields.fault("encoding_format", "must be float or base64", code: "unsupported_value")
        }
    }

    /// A text, token ids, or a list of either.
    static func inputs(
        _ fields: RequestFields, _ key: String, limits: GatewayLimits
    ) throws(NodeFault) -> [EmbeddingRequest.Input] {
        let value = try fields.required(key, fields[key])
        if let text = value.text {
            guard !text.isEmpty else { throw fields.fault(key, "must not be empty", code: "missing") }
            return [.text(text)]
        }
        guard let items = value.items, let first = items.first else {
            throw fields.fault(
                key, "must be a text, a list of texts, a list of token ids or a list of such lists",
                code: "invalid_type")
        }
        if case .number = first { return [.tokens(try fields.tokens(value, key, countMax: limits.promptTokensMax))] }
        guard items.count <= limits.embeddingInputsMax else {
            throw fields.fault(
                key, "may have \(limits.embeddingInputsMax) inputs; it has \(items.count)", code: "too_long")
        }
        var inputs: [EmbeddingRequest.Input] = []
        for (index, item) in items.enumerated() {
            if let text = item.text {
                guard !text.isEmpty else {
                    throw fields.fault("\(key)[\(index)]", "must not be empty", code: "missing")
                }
                inputs.append(.text(text))
            } else {
                let tokens = try fields.tokens(item, "\(key)[\(index)]", countMax: limits.promptTokensMax)
                guard !tokens.isEmpty else {
                    throw fields.fault("\(key)[\(index)]", "must not be empty", code: "missing")
                }
                inputs.append(.tokens(tokens))
            }
        }
        return inputs
    }

    private static func json(_ answer: Embeddings, isBase64: Bool) -> JSONValue {
        let data = answer.vectors.enumerated().map { index, vector in
            JSONValue.object([
                "object": .string("embedding"), "index": .integer(index),
                "embedding": isBase64
                    ? .string(Base64.encode(vector.flatMap(\.littleEndianBytes)))
                    : .array(vector.map { .double(Double($0)) }),
            ])
        }
        return .object([
            "object": .string("list"), "data": .array(data), "model": .string(answer.model),
            "usage": .object([
                "prompt_tokens": .integer(answer.promptTokens), "total_tokens": .integer(answer.promptTokens),
            ]),
        ])
    }
}

extension Float {
    fileprivate var littleEndianBytes: [UInt8] { withUnsafeBytes(of: bitPattern.littleEndian, Array.init) }
}
