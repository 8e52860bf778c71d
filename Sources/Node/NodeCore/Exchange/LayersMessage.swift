// The messages of /openledger/layers/1 (Protocol/layers.md), dag-cbor, one a frame. The coordinator speaks first.
//
//   coordinator                              stage
//     │── open (model, layers, pages) ──────────▶│   weights read, pages set aside
//     │◀─────────────────── opened (pages granted) ──│   or refused(code, message)
//     │── compute 1, compute 2, … ──────────────▶│   rows of the residual stream
//     │◀──────────────── computed 1, computed 2, … ──│   the same rows after the stage's layers
//     │── end of stream ──▶ whatever was granted is free

package import Primitives
package import Records

/// Layers that are asked for.
package struct LayersRequest: Hashable, Sendable {
    package static let pagesMax = 1 << 20

    package var model: CID
    package var precision: String
    package var numerics: UInt64
    package var layers: Range<Int>
    /// Pages of keys and values that the coordinator would use.
    package var pages: Int

    package init(model: CID, precision: String, numerics: UInt64, layers: Range<Int>, pages: Int) {
        self.model = model
        self.precision = precision
        self.numerics = numerics
        self.layers = layers
        self.pages = pages
    }
}

package enum LayersMessage: Hashable, Sendable {
    package static let bytesMax = 2 << 20
    static let hiddenMax = 1 << 18

    case open(LayersRequest)
    case opened(pages: Int, hidden: Int)
    case compute(step: UInt64, LayerWork)
    case computed(step: UInt64, rows: [UInt8])
    case refused(code: String, message: String)

    package func encoded() -> [UInt8] {
        switch self {
        case .open(let request):
            CBOR.map([
                "type": .text("open"), "model": .link(request.model), "precision": .text(request.precision),
                "numerics": .unsigned(request.numerics), "from": .unsigned(UInt64(request.layers.lowerBound)),
                "layers": .unsigned(UInt64(request.layers.count)), "pages": .unsigned(UInt64(request.pages)),
            ]).encoded()
        case .opened(let pages, let hidden):
            CBOR.map([
                "type": .text("opened"), "pages": .unsigned(UInt64(pages)), "hidden": .unsigned(UInt64(hidden)),
            ]).encoded()
        case .compute(let step, let work):
            CBOR.map([("type", .text("compute")), ("step", .unsigned(step))] + work.fields).encoded()
        case .computed(let step, let rows):
            CBOR.map(["type": .text("computed"), "step": .unsigned(step), "rows": .bytes(rows)]).encoded()
        case .refused(let code, let message):
            CBOR.map(["type": .text("refused"), "code": .text(code), "message": .text(message)]).encoded()
        }
    }

    package init(decoding bytes: [UInt8]) throws(CBORFault) {
        var fields = try CBORFields(decoding: bytes, "LayersMessage", limits: CBORLimits(bytesMax: Self.bytesMax))
        switch try fields.text("type", max: 16) {
        case "open":
            let model = try fields.link("model"), precision = try fields.text("precision", max: 16)
            let numerics = try fields.unsigned("numerics")
            let from = Int(try fields.unsigned("from", max: UInt64(ServedLayers.layersMax)))
            let count = Int(try fields.unsigned("layers", max: UInt64(ServedLayers.layersMax)))
            let pages = Int(try fields.unsigned("pages", max: UInt64(LayersRequest.pagesMax)))
            guard count > 0, pages > 0 else { throw fields.fault("layers", "asks for nothing") }
            self = .open(
                LayersRequest(
                    model: model, precision: precision, numerics: numerics, layers: from..<from + count, pages: pages))
        case "opened":
            self = .opened(
                pages: Int(try fields.unsigned("pages", max: UInt64(LayersRequest.pagesMax))),
                hidden: Int(try fields.unsigned("hidden", max: UInt64(Self.hiddenMax))))
        case "compute": self = .compute(step: try fields.unsigned("step"), try LayerWork(&fields))
        case "computed":
            self = .computed(
                step: try fields.unsigned("step"), rows: try fields.bytes("rows", max: LayerWork.rowsBytesMax))
        case "refused":
            self = .refused(code: try fields.text("code", max: 64), message: try fields.text("message", max: 2048))
        default: throw fields.fault("type", "is not a known message")
        }
        try fields.finish()
    }
}
