// Adapters made part of their base: W + sum of weight * scale * B A, computed in f32 and rounded once to the type that the
// weight's file has. What comes out is one model.safetensors with the base's tensors in order of name: the same parts give
// the same bytes, and so the same CID. The folder's other files stay as they are.

import Kernels
package import ModelFiles
import Primitives

package struct MergedModel {
    private struct Update {
        let down: RowReader
        let up: RowReader
        let scale: Float
    }

    package static let file = "model.safetensors"

    /// Of the file that `write` makes.
    package let byteCount: Int
    private let header: [UInt8]
    private let tensors: [TensorView]
    private let updates: [String: [Update]]
    private let folders: [any ModelFolder]

    /// - Parameters:
    ///   - base: a Hugging Face folder; the folders must live as long as this value.
    ///   - adapters: PEFT folders, each with its weight.
    package init(
        base: any ModelFolder, adapters: [(folder: any ModelFolder, weight: Double)]
    ) throws(ModelFault) {
        let known = try Safetensors(folder: base, stem: "model").tensors
        var updates: [String: [Update]] = [:]
        for adapter in adapters {
            for (name, update) in try Self.updates(adapter.folder, weight: adapter.weight, base: known) {
                updates[name, default: []].append(update)
            }
        }
        tensors = known.values.sorted { $0.name < $1.name }
        self.updates = updates
        folders = [base] + adapters.map(\.folder)
        header = Self.header(tensors)
        byteCount = tensors.reduce(header.count) { $0 + $1.bytes.count }
    }

    private static func updates(
        _ folder: any ModelFolder, weight: Double, base: [String: TensorView]
    ) throws(ModelFault) -> [(String, Update)] {
        let file = "adapter_model.safetensors"
        let settings = try AdapterSettings(folder: folder)
        let tensors = try Safetensors(folder: folder, stem: "adapter_model").tensors
        let prefix = "base_model.model.", ending = ".lora_A.weight"
        var found: [(String, Update)] = []
        for name in tensors.keys.sorted() where name.hasSuffix(ending) {
            guard name.hasPrefix(prefix), let a = tensors[name] else { continue }
            let module = String(name.dropFirst(prefix.count).dropLast(ending.count))
            guard let b = tensors[prefix + module + ".lora_B.weight"] else {
                throw .malformed(file: file, reason: "\(module) has lora_A and no lora_B")
            }
            guard let target = base[module + ".weight"], target.shape.count == 2 else {
                throw .unsupported(file: file, feature: "merging into \(module), which is no matrix of this base,")
            }
            let rank = settings.rank(of: module), scale = settings.scale(of: module, rank: rank)
            // The weight itself must be of a type that can be read and written.
            _ = try RowReader(target, rows: target.shape[0], columns: target.shape[1], file: Self.file)
            found.append(
                (
                    target.name,
                    Update(
                        down: try RowReader(a, rows: rank, columns: target.shape[1], file: file),
                        up: try RowReader(b, rows: target.shape[0], columns: rank, file: file),
                        scale: Float(weight * scale))
                ))
        }
        guard found.count * 2 == tensors.count else {
            throw .unsupported(file: file, feature: "a tensor that is neither lora_A nor lora_B of a module")
        }
        return found
    }

    private static func header(_ tensors: [TensorView]) -> [UInt8] {
        var at = 0
        let members = tensors.map { view in
            defer { at += view.bytes.count }
            return JSONMember(
                view.name,
                .members([
                    JSONMember("dtype", .string(view.dtype)),
                    JSONMember("shape", .array(view.shape.map { .integer($0) })),
                    JSONMember("data_offsets", .array([.integer(at), .integer(at + view.bytes.count)])),
                ]))
        }
        var json = JSONValue.members(members).serialized()
        while !(json.count + 8).isMultiple(of: 8) { json.append(0x20) }
        return withUnsafeBytes(of: UInt64(json.count).littleEndian, Array.init) + json
    }

    /// Hands over the file piece by piece.
    package func write<Fault: Error>(_ sink: (UnsafeRawBufferPointer) throws(Fault) -> Void) throws(Fault) {
        try Self.hand(header, to: sink)
        for view in tensors {
            guard let updates = updates[view.name] else {
                try sink(view.bytes)
                continue
            }
            try Self.hand(merge(view, updates), to: sink)
        }
        withExtendedLifetime(folders) {}
    }

    private static func hand<Fault: Error>(
        _ bytes: [UInt8], to sink: (UnsafeRawBufferPointer) throws(Fault) -> Void
    ) throws(Fault) {
        let result: Result<Void, Fault> = bytes.withUnsafeBytes { buffer in
            do throws(Fault) {
                return .success(try sink(buffer))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func merge(_ view: TensorView, _ updates: [Update]) -> [UInt8] {
        let rows = view.shape[0], columns = view.shape[1]
        guard let reader = try? RowReader(view, rows: rows, columns: columns, file: Self.file) else {
            return Array(view.bytes)
        }
        let downs = updates.map { update in (0..<update.down.rows).map { update.down.row($0) } }
        var merged: [UInt8] = []
        merged.reserveCapacity(view.bytes.count)
        var sum = [Float](repeating: 0, count: columns)
        for row in 0..<rows {
            reader.read(row: row, into: &sum)
            for (update, down) in zip(updates, downs) {
                var delta = [Float](repeating: 0, count: columns)
                for (rank, factor) in update.up.row(row).enumerated() {
                    for column in 0..<columns { delta[column] += factor * down[rank][column] }
                }
                for column in 0..<columns { sum[column] += update.scale * delta[column] }
            }
            Self.append(sum, as: view.dtype, to: &merged)
        }
        return merged
    }

    private static func append(_ values: [Float], as dtype: String, to bytes: inout [UInt8]) {
        guard dtype != "F32" else { return values.withUnsafeBytes { bytes += $0 } }
        var rounded = [UInt16](repeating: 0, count: values.count)
        kernel_to_16(values, values.count, dtype == "BF16" ? 0x7f80 : 0x7c00, &rounded)
        rounded.withUnsafeBytes { bytes += $0 }
    }
}
