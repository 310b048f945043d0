//! Names the shared library by its ABI, so that a program finds the one that it was linked with.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Rises when a program that was linked with the last one would no longer work; ffi/install.sh reads it.
    const ABI: &str = "0";
    match std::env::var("CARGO_CFG_TARGET_VENDOR").as_deref() {
        Ok("apple") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/liblameduck.{ABI}.dylib")
        }
        _ => println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liblameduck.so.{ABI}"),
    }
}
