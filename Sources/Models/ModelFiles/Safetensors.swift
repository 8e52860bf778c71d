// Safetensors files, read strictly: the header is bounded, the tensors tile the data section exactly, and each one's
// length
// is its shape times its element size. Whatever lies about its size is refused before a byte of data is touched.
//
//     8 bytes little-endian header length | JSON header | tensor data
//
// Source: github.com/huggingface/safetensors, "Format".

package import Primitives

package enum TensorLimit {
    package static let headerBytesMax = 32 << 20
    package static let tensorsMax = 1 << 17
    package static let shardsMax = 4096
    package static let dimensionsMax = 8
}

package struct TensorView {
    package let name: String
    package let dtype: String
    package let shape: [Int]
    package let bytes: UnsafeRawBufferPointer

    /// Bytes of one element of each type that a file may hold; only the first three are computed with.
    package static let elementBytes: [String: Int] = [
        "F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1,
        "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    ]
}

/// The tensors of one folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
package struct Safetensors {
    package private(set) var tensors: [String: TensorView] = [:]

    package init(folder: any ModelFolder, stem: String) throws(ModelFault) {
        let single = stem + ".safetensors", index = stem + ".safetensors.index.json"
        if let bytes = folder.bytes(of: single) {
            try add(file: single, bytes: bytes)
            return
        }
        guard let indexBytes = folder.bytes(of: index) else { throw .missing(file: single) }
        let json = try parseJSON(indexBytes, file: index)
        guard let map = json["weight_map"]?.memberList else {
            throw .malformed(file: index, reason: "\"weight_map\" is missing or not an object")
        }
        var shards: Set<String> = []
        for member in map {
            let tensor = member.key
            guard let file = member.value.text, !file.isEmpty, !file.contains("/"), !file.contains("\\"), file != ".."
            else {
                throw .malformed(file: index, reason: "tensor \(tensor) is not mapped to a file name in the folder")
            }
            shards.insert(file)
        }
        guard shards.count <= TensorLimit.shardsMax else {
            throw .malformed(file: index, reason: "more than \(TensorLimit.shardsMax) shards")
        }
        for file in shards.sorted() {
            guard let bytes = folder.bytes(of: file) else { throw .missing(file: file) }
            try add(file: file, bytes: bytes)
        }
    }

    private mutating func add(file: String, bytes: UnsafeRawBufferPointer) throws(ModelFault) {
        func fault(_ reason: String) -> ModelFault { .malformed(file: file, reason: reason) }
        guard bytes.count >= 8 else { throw fault("is shorter than its 8-byte header length") }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(TensorLimit.headerBytesMax), length <= UInt64(bytes.count - 8) else {
            throw fault("header of \(length) bytes does not fit a file of \(bytes.count)")
        }
        let header = UnsafeRawBufferPointer(rebasing: bytes[8..<(8 + Int(length))])
        let data = UnsafeRawBufferPointer(rebasing: bytes[(8 + Int(length))...])
        let json = try parseJSON(header, file: file)
        guard let members = json.memberList else { throw fault("header is not a JSON object") }
        var spans: [(begin: Int, end: Int, name: String)] = []
        for member in members where member.key != "__metadata__" {
            let name = member.key, entry = member.value
            guard let dtype = entry["dtype"]?.text, let size = TensorView.elementBytes[dtype] else {
                throw fault("tensor \(name) has no known dtype")
            }
            guard let dimensions = entry["shape"]?.items, dimensions.count <= TensorLimit.dimensionsMax else {
                throw fault("tensor \(name) has no shape of at most \(TensorLimit.dimensionsMax) dimensions")
            }
            var shape: [Int] = [], total = size
            for dimension in dimensions {
                guard let extent = dimension.count else {
                    throw fault("tensor \(name) has a dimension that is no count")
                }
                shape.append(extent)
                let (product, overflow) = total.multipliedReportingOverflow(by: extent)
                guard !overflow else { throw fault("tensor \(name) has an absurd shape \(shape)") }
                total = product
            }
            guard let offsets = entry["data_offsets"]?.items, offsets.count == 2, let begin = offsets[0].count,
                let end = offsets[1].count, begin <= end, end <= data.count
            else { throw fault("tensor \(name) lies outside the file's \(data.count) bytes of data") }
            guard end - begin == total else {
                throw fault("tensor \(name) of shape \(shape) needs \(total) bytes but has \(end - begin)")
            }
            spans.append((begin, end, name))
            let view = TensorView(
                name: name, dtype: dtype, shape: shape, bytes: UnsafeRawBufferPointer(rebasing: data[begin..<end]))
            guard tensors.updateValue(view, forKey: name) == nil else { throw fault("tensor \(name) appears twice") }
        }
        guard tensors.count <= TensorLimit.tensorsMax else {
            throw fault("more than \(TensorLimit.tensorsMax) tensors")
        }
        spans.sort { ($0.begin, $0.end) < ($1.begin, $1.end) }
        var reached = 0
        for span in spans {
            guard span.begin == reached else { throw fault("tensor \(span.name) overlaps another or leaves a hole") }
            reached = span.end
        }
        guard reached == data.count else { throw fault("\(data.count - reached) bytes follow the last tensor") }
    }
}

package func parseJSON(_ bytes: UnsafeRawBufferPointer, file: String) throws(ModelFault) -> JSONValue {
    do {
        return try JSONValue.parse([UInt8](bytes), limits: .tokenizer)
    } catch {
        throw .malformed(file: file, reason: "\(error)")
    }
}

extension JSONValue {
    /// An integer that is not negative.
    package var count: Int? { integer.flatMap { $0 >= 0 ? $0 : nil } }
}
