// Unicode normal form C. The standard library has it, for comparing strings, under the name that it keeps for
// Foundation.

@_spi(_Unicode) import Swift

enum NormalForm {
    static func composed(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        if bytes.allSatisfy({ $0 < 0x80 }) { return Array(bytes) }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: String(decoding: bytes, as: UTF8.self)._nfc)
        return Array(String(view).utf8)
    }
}
