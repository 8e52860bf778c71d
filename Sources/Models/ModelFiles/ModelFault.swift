/// Why a model folder, tokenizer, template or adapter is refused: what was wrong, and in which file.
package enum ModelFault: Error, Hashable, CustomStringConvertible {
    case missing(file: String)
    case malformed(file: String, reason: String)
    case unsupported(file: String, feature: String)
    case notFinite(tensor: String)

    package var description: String {
        switch self {
        case .missing(let file): "\(file) is missing from the folder"
        case .malformed(let file, let reason): "\(file): \(reason)"
        case .unsupported(let file, let feature): "\(file): \(feature) is not supported"
        case .notFinite(let tensor): "tensor \(tensor) holds a value that is not finite"
        }
    }
}
